# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The deployment-time matrix: parsing, checking, limits, and sub-matrices for the planners.

Inside, a missing link and the diagonal are ``inf``; host numbers are positions in ``hosts``.
"""

from __future__ import annotations

import json
import math
import pathlib
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption

INF = math.inf
FORMAT = 1


def plain(value: t.Any) -> t.Any:
    """Exact built-in types from whatever subclasses a template engine wraps data in."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise InvalidOption("data", type(value).__name__, "only JSON-like data is")


def shown(value: t.Any) -> t.Any:
    """A value short enough for a message."""
    text = repr(value)
    return value if len(text) <= 80 else text[:77] + "..."


def number(option: str, value: t.Any, *, zero: bool = True, integer: bool = False) -> float:
    """A finite, non-negative number (positive unless ``zero``), or InvalidOption naming the option."""
    accepted = f"{'an integer' if integer else 'a number'} {'of at least' if zero else 'above'} 0 is"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidOption(option, shown(value), accepted)
    if value < 0 or (not zero and value == 0) or (integer and int(value) != value):
        raise InvalidOption(option, value, accepted)
    return int(value) if integer else float(value)


def names(option: str, value: t.Any, known: Mapping[str, int] | None = None) -> list[str]:
    """A list of distinct host names (one name may stand alone), all of them known if ``known`` is given."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
        raise InvalidOption(option, shown(value), "a list of host names is")
    found = [str.__str__(item) for item in value]
    if len(set(found)) != len(found):
        twice = next(item for item in found if found.count(item) > 1)
        raise InvalidOption(option, twice, "each host may be named once")
    if known is not None:
        for item in found:
            if item not in known:
                hosts = list(known)
                few = ", ".join(hosts[:8]) + (f" and {len(hosts) - 8} more" if len(hosts) > 8 else "")
                raise InvalidOption(option, item, f"the matrix has the hosts {few or '(none)'}")
    return found


def choice(option: str, value: t.Any, accepted: Sequence[str]) -> str:
    """One of the accepted words."""
    if not isinstance(value, str) or value not in accepted:
        raise InvalidOption(option, shown(value), f"one of {', '.join(accepted)} is")
    return str.__str__(value)


def read_input(option: str, value: t.Any) -> t.Any:
    """The value itself, or the content of the JSON file that it names."""
    if not isinstance(value, (str, pathlib.PurePath)):
        return value
    path = pathlib.Path(value).expanduser()
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidOption(option, str(value), f"a structure or the path of a readable JSON file is ({error})")
    except ValueError as error:
        raise InvalidOption(option, str(value), f"the file must hold JSON ({error})")


def mbps_seconds(size_bytes: float, mbps: float) -> float:
    """Seconds that ``size_bytes`` take at ``mbps`` (10^6 bit/s)."""
    return size_bytes * 8.0 / (mbps * 1e6)


class Matrix:
    """A checked deployment-time matrix, dense or hierarchical.

    ``rows`` is None for the hierarchical form, which has ``class_of``, ``class_seconds`` and ``exceptions``.
    ``up``, ``down`` hold limits in mbps by host number, ``links`` by pair.
    """

    def __init__(self, hosts: list[str]) -> None:
        self.hosts = hosts
        self.index = {host: number_ for number_, host in enumerate(hosts)}
        self.rows: list[list[float]] | None = None
        self.class_of: list[int] = []
        self.class_seconds: list[list[float]] = []
        self.exceptions: dict[tuple[int, int], float] = {}
        self.up: dict[int, float] = {}
        self.down: dict[int, float] = {}
        self.links: dict[tuple[int, int], float] = {}
        self.uncertain: set[tuple[int, int]] = set()
        self.size_bytes: int | None = None

    @property
    def dense(self) -> bool:
        return self.rows is not None

    def seconds(self, i: int, j: int) -> float:
        """Seconds from i to j as measured, without limits; inf where there is no link."""
        if i == j:
            return INF
        if self.rows is not None:
            return self.rows[i][j]
        found = self.exceptions.get((i, j))
        return self.class_seconds[self.class_of[i]][self.class_of[j]] if found is None else found

    def add_limits(self, limits: t.Any, option: str = "limits") -> None:
        """Merge limits: ``{"hosts": {host: {...}}, "links": [[from, to, mbps]]}`` or just ``{host: {...}}``.

        A limit may only tighten one that is there already.
        """
        if limits is None:
            return
        accepted = '{host: {"up_mbps": n, "down_mbps": n}} or {"hosts": {...}, "links": [[from, to, mbps]]} is'
        if not isinstance(limits, Mapping):
            raise InvalidOption(option, shown(limits), accepted)
        if set(limits) <= {"hosts", "links"} and not (set(limits) & set(self.index)):
            hosts, links = limits.get("hosts") or {}, limits.get("links") or []
        else:
            hosts, links = limits, []
        if not isinstance(hosts, Mapping) or not isinstance(links, (list, tuple)):
            raise InvalidOption(option, shown(limits), accepted)
        for host, values in hosts.items():
            names(f"{option}.hosts", [host], self.index)
            if not isinstance(values, Mapping) or not set(values) <= {"up_mbps", "down_mbps"}:
                raise InvalidOption(f"{option}.{host}", shown(values), '{"up_mbps": n, "down_mbps": n} is')
            for key, table in (("up_mbps", self.up), ("down_mbps", self.down)):
                if values.get(key) is not None:
                    mbps = number(f"{option}.{host}.{key}", values[key], zero=False)
                    at = self.index[host]
                    table[at] = min(mbps, table.get(at, INF))
        for entry in links:
            if not isinstance(entry, (list, tuple)) or len(entry) != 3:
                raise InvalidOption(f"{option}.links", shown(entry), "[from, to, mbps] is")
            pair = self.pair(f"{option}.links", entry[:2])
            mbps = number(f"{option}.links[{entry[0]}, {entry[1]}]", entry[2], zero=False)
            self.links[pair] = min(mbps, self.links.get(pair, INF))

    def pair(self, option: str, value: t.Any) -> tuple[int, int]:
        """Host numbers of ``[from, to]``."""
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise InvalidOption(option, shown(value), "[from, to] is")
        found = names(option, value, self.index)
        return self.index[found[0]], self.index[found[1]]

    @property
    def limited(self) -> bool:
        return bool(self.up or self.down or self.links)

    def set_seconds(self, i: int, j: int, seconds: float) -> None:
        """Overwrite one link (``inf`` removes it)."""
        if self.rows is not None:
            self.rows[i][j] = seconds
        else:
            self.exceptions[i, j] = seconds

    def sub(self, chosen: Sequence[int], size_bytes: int | None) -> list[list[float]]:
        """Rows of the sub-matrix over ``chosen``, for ``size_bytes``, with the limits applied."""
        scale = size_bytes / self.size_bytes if size_bytes and self.size_bytes else 1.0
        out: list[list[float]] = []
        if self.rows is not None:
            whole = list(chosen) == list(range(len(self.hosts)))
            for i in chosen:
                row = self.rows[i]
                out.append(list(row) if whole else [row[j] for j in chosen])
        else:
            classes = [self.class_of[j] for j in chosen]
            by_class = {c: [self.class_seconds[c][d] for d in classes] for c in set(classes)}
            out = [list(by_class[c]) for c in classes]
            at = {j: k for k, j in enumerate(chosen)}
            for (i, j), seconds in self.exceptions.items():
                if i in at and j in at:
                    out[at[i]][at[j]] = seconds
        if scale != 1.0:
            out = [[x * scale for x in row] for row in out]
        if self.limited and size_bytes:
            self._apply_limits(out, chosen, size_bytes)
        for k, row in enumerate(out):
            row[k] = INF
        return out

    def _apply_limits(self, out: list[list[float]], chosen: Sequence[int], size_bytes: int) -> None:
        down = [mbps_seconds(size_bytes, self.down[j]) if j in self.down else 0.0 for j in chosen]
        for k, i in enumerate(chosen):
            least = mbps_seconds(size_bytes, self.up[i]) if i in self.up else 0.0
            if least or any(down):
                out[k] = [max(x, least, d) for x, d in zip(out[k], down, strict=True)]
        at = {j: k for k, j in enumerate(chosen)}
        for (i, j), mbps in self.links.items():
            if i in at and j in at:
                row = out[at[i]]
                row[at[j]] = max(row[at[j]], mbps_seconds(size_bytes, mbps))


def _rows(option: str, value: t.Any, n: int, labels: Sequence[str], *, diagonal: bool) -> list[list[float]]:
    """Checked square rows with inf for null. ``diagonal``: it is meaningful (classes) and may be anything."""
    if not isinstance(value, (list, tuple)) or len(value) != n:
        length = len(value) if isinstance(value, (list, tuple)) else type(value).__name__
        raise InvalidOption(option, length, f"{n} rows of {n} numbers or nulls are, one row per host or class")
    out: list[list[float]] = []
    for i, row in enumerate(value):
        if not isinstance(row, (list, tuple)) or len(row) != n:
            length = len(row) if isinstance(row, (list, tuple)) else shown(row)
            raise InvalidOption(f"{option}[{labels[i]}]", length, f"a row of {n} numbers or nulls is (not square)")
        kinds = set(map(type, row))
        if kinds <= {float, int, type(None)}:
            clean = [INF if x is None else x for x in row] if type(None) in kinds else list(row)
        else:
            clean = []
            for j, x in enumerate(row):
                if x is not None and (isinstance(x, bool) or not isinstance(x, (int, float))):
                    raise InvalidOption(f"{option}[{labels[i]}][{labels[j]}]", shown(x), "a number or null is")
                clean.append(INF if x is None else float(x))
        if not all(x >= 0 for x in clean) or clean.count(INF) != sum(x is None for x in row):
            j = next(j for j, x in enumerate(row) if x is not None and not (0 <= x < INF))
            raise InvalidOption(
                f"{option}[{labels[i]}][{labels[j]}]", row[j], "seconds of at least 0, or null for no link, are"
            )
        if not diagonal:
            if row[i] is not None and row[i] != 0:
                raise InvalidOption(f"{option}[{labels[i]}][{labels[i]}]", row[i], "0 is, on the diagonal")
            clean[i] = INF
        out.append(clean)
    return out


def parse(value: t.Any, option: str = "matrix") -> Matrix:
    """A Matrix from its documented form, inline or as the path of a JSON file."""
    if isinstance(value, Matrix):
        return value
    value = read_input(option, value)
    if not isinstance(value, Mapping):
        raise InvalidOption(option, shown(value), "a matrix (a dictionary with hosts and seconds) or a path is")
    if value.get("format", FORMAT) != FORMAT:
        raise InvalidOption(f"{option}.format", value.get("format"), f"format {FORMAT} is")
    hosts = value.get("hosts")
    if not isinstance(hosts, (list, tuple)) or not all(isinstance(h, str) and h for h in hosts):
        raise InvalidOption(f"{option}.hosts", shown(hosts), "a list of host names is")
    hosts = [str.__str__(h) for h in hosts]
    if len(set(hosts)) != len(hosts):
        raise InvalidOption(f"{option}.hosts", next(h for h in hosts if hosts.count(h) > 1), "each host once is")
    matrix = Matrix(hosts)
    if value.get("seconds") is not None:
        matrix.rows = _rows(f"{option}.seconds", value["seconds"], len(hosts), hosts, diagonal=False)
    elif value.get("class_of") is not None:
        _parse_classes(matrix, value, option)
    else:
        raise InvalidOption(option, shown(sorted(value)), "either seconds, or class_of with class_seconds, is")
    for entry in value.get("exceptions") or []:
        if not isinstance(entry, (list, tuple)) or len(entry) != 3:
            raise InvalidOption(f"{option}.exceptions", shown(entry), "[from, to, seconds] is")
        i, j = matrix.pair(f"{option}.exceptions", entry[:2])
        seconds = INF if entry[2] is None else number(f"{option}.exceptions[{entry[0]}, {entry[1]}]", entry[2])
        matrix.set_seconds(i, j, seconds)
    matrix.add_limits(value.get("limits"), f"{option}.limits")
    for entry in value.get("uncertain") or []:
        matrix.uncertain.add(matrix.pair(f"{option}.uncertain", entry))
    if value.get("size_bytes") is not None:
        matrix.size_bytes = int(number(f"{option}.size_bytes", value["size_bytes"], zero=False, integer=True))
    return matrix


def _parse_classes(matrix: Matrix, value: Mapping[str, t.Any], option: str) -> None:
    table = value.get("class_seconds")
    count = len(table) if isinstance(table, (list, tuple)) else 0
    labels = [str(c) for c in range(count)]
    matrix.class_seconds = _rows(f"{option}.class_seconds", table, count, labels, diagonal=True)
    class_of = value["class_of"]
    if not isinstance(class_of, (list, tuple)) or len(class_of) != len(matrix.hosts):
        raise InvalidOption(f"{option}.class_of", shown(class_of), f"{len(matrix.hosts)} class numbers are")
    for c in class_of:
        if isinstance(c, bool) or not isinstance(c, int) or not 0 <= c < count:
            raise InvalidOption(f"{option}.class_of", shown(c), f"class numbers from 0 to {count - 1} are")
    matrix.class_of = [int(c) for c in class_of]


def as_dict(hosts: Sequence[str], rows: Iterable[Iterable[float]], **more: t.Any) -> dict[str, t.Any]:
    """The documented dense form: null for inf, 0 on the diagonal."""
    seconds = [
        [0 if i == j else (None if x == INF else x) for j, x in enumerate(row)] for i, row in enumerate(rows)
    ]
    return {"format": FORMAT, "hosts": list(hosts), "seconds": seconds, **more}
