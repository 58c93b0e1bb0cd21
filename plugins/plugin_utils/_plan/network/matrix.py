# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The deployment-time matrix: parsing, checking, limits, and sub-matrices for the planners.

Inside, a missing link and the diagonal are ``inf``; host numbers are positions in ``hosts``.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ....module_utils._errors import InvalidOption
from ..json_data import choice, names, number, plain, read_input, shown
from .limits import Limits, mbps_seconds

__all__ = [
    "FORMAT", "INF", "Matrix", "as_dict", "choice", "mbps_seconds", "names", "number", "parse", "plain", "read_input", "shown",
]  # fmt: skip

INF = math.inf
FORMAT = 1


class Matrix:
    """A checked deployment-time matrix, dense or hierarchical.

    ``rows`` is None for the hierarchical form, which has ``class_of``, ``class_seconds`` and ``exceptions``.
    ``site`` names each host's site ("" where none is known); ``shared_pools`` are groups of hosts whose pool is the same storage.
    ``uncertain`` are links whose seconds are estimated. ``measured``, if a hierarchical matrix has it: the only links beside its
    exceptions whose seconds are not.
    """

    def __init__(self, hosts: list[str]) -> None:
        self.hosts = hosts
        self.index = {host: number_ for number_, host in enumerate(hosts)}
        self.rows: list[list[float]] | None = None
        self.class_of: list[int] = []
        self.class_seconds: list[list[float]] = []
        self.exceptions: dict[tuple[int, int], float] = {}
        self.limits = Limits()
        self.site = [""] * len(hosts)
        self.shared_pools: list[list[str]] = []
        self.uncertain: set[tuple[int, int]] = set()
        self.measured: set[tuple[int, int]] | None = None
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

    def set_sites(self, value: object, option: str = "sites") -> None:
        """Sites by host name; hosts that are not named keep theirs."""
        if value is None:
            return
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value.values()):
            raise InvalidOption(option, shown(value), "{host: site} is wanted")
        for host, name in value.items():
            if host in self.index:
                self.site[self.index[host]] = str.__str__(name)

    def set_shared_pools(self, value: object, option: str = "shared_pools") -> None:
        """Groups of host names; a host can be in one of them."""
        if not isinstance(value, (list, tuple)) or not all(isinstance(group, (list, tuple)) for group in value):
            raise InvalidOption(option, shown(value), "a list of lists of hosts that have the same pool is wanted")
        self.shared_pools = [names(option, group, self.index) for group in value]
        seen: set[str] = set()
        for group in self.shared_pools:
            for host in group:
                if host in seen:
                    raise InvalidOption(option, host, "each host in one list only is wanted")
                seen.add(host)

    def check_sites(self) -> None:
        """Every site that a limit names must have hosts."""
        known = set(self.site) - {""}
        for name in sorted(self.limits.sites - known):
            raise InvalidOption("limits", name, f"the matrix has the sites {', '.join(sorted(known)) or '(none)'}; one of them")

    def pair(self, option: str, value: object) -> tuple[int, int]:
        """Host numbers of ``[from, to]``."""
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise InvalidOption(option, shown(value), "[from, to] is wanted")
        found = names(option, value, self.index)
        return self.index[found[0]], self.index[found[1]]

    def is_estimated(self, i: int, j: int) -> bool:
        """Whether a link's seconds were estimated from those of others, or measured long ago."""
        if (i, j) in self.uncertain:
            return True
        return self.measured is not None and (i, j) not in self.measured and (i, j) not in self.exceptions

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
        if self.limits and size_bytes:
            self._apply_limits(out, chosen, size_bytes)
        for k, row in enumerate(out):
            row[k] = INF
        return out

    def _apply_limits(self, out: list[list[float]], chosen: Sequence[int], size_bytes: int) -> None:
        """No transfer is quicker than any limit that it meets."""
        limits, hosts = self.limits, [self.hosts[j] for j in chosen]
        down = [mbps_seconds(size_bytes, limits.down[h]) if h in limits.down else 0.0 for h in hosts]
        for k, h in enumerate(hosts):
            least = mbps_seconds(size_bytes, limits.up[h]) if h in limits.up else 0.0
            if least or any(down):
                out[k] = [max(x, least, d) for x, d in zip(out[k], down, strict=True)]
        at = {h: k for k, h in enumerate(hosts)}
        for (a, b), mbps in limits.links.items():
            if a in at and b in at:
                row = out[at[a]]
                row[at[b]] = max(row[at[b]], mbps_seconds(size_bytes, mbps))
        if limits.of_sites:
            self._apply_sites(out, [self.site[j] for j in chosen], size_bytes)

    def _apply_sites(self, out: list[list[float]], site: Sequence[str], size_bytes: int) -> None:
        limits = self.limits
        for a in set(site):
            least = {}
            for b in set(site) - {a}:
                mbps = min(limits.site_up.get(a, INF), limits.site_down.get(b, INF), limits.between.get((a, b), INF))
                least[b] = mbps_seconds(size_bytes, mbps) if mbps < INF else 0.0
            if any(least.values()):
                floor = [least.get(b, 0.0) for b in site]
                for k, own in enumerate(site):
                    if own == a:
                        out[k] = [max(x, d) for x, d in zip(out[k], floor, strict=True)]


def _rows(option: str, value: object, n: int, labels: Sequence[str], *, diagonal: bool) -> list[list[float]]:
    """Checked square rows with inf for null. ``diagonal``: it is meaningful (classes) and may be anything."""
    if not isinstance(value, (list, tuple)) or len(value) != n:
        length = len(value) if isinstance(value, (list, tuple)) else type(value).__name__
        raise InvalidOption(option, length, f"{n} rows of {n} numbers or nulls are, one row per host or class")
    out: list[list[float]] = []
    for i, row in enumerate(value):
        if not isinstance(row, (list, tuple)) or len(row) != n:
            length = len(row) if isinstance(row, (list, tuple)) else shown(row)
            raise InvalidOption(f"{option}[{labels[i]}]", length, f"a row of {n} numbers or nulls is wanted, as the matrix is square")
        kinds = set(map(type, row))
        if kinds <= {float, int, type(None)}:
            clean = [INF if x is None else x for x in row] if type(None) in kinds else list(row)
        else:
            clean = []
            for j, x in enumerate(row):
                if x is not None and (isinstance(x, bool) or not isinstance(x, (int, float))):
                    raise InvalidOption(f"{option}[{labels[i]}][{labels[j]}]", shown(x), "a number or null is wanted")
                clean.append(INF if x is None else float(x))
        if not all(x >= 0 for x in clean) or clean.count(INF) != sum(x is None for x in row):
            j = next(j for j, x in enumerate(row) if x is not None and not (0 <= x < INF))
            raise InvalidOption(f"{option}[{labels[i]}][{labels[j]}]", row[j], "seconds of at least 0, or null for no link, are wanted")
        if not diagonal:
            if row[i] is not None and row[i] != 0:
                raise InvalidOption(f"{option}[{labels[i]}][{labels[i]}]", row[i], "0 is wanted on the diagonal")
            clean[i] = INF
        out.append(clean)
    return out


def parse(value: object, option: str = "matrix") -> Matrix:
    """A Matrix from its documented form, inline or as the path of a JSON file."""
    if isinstance(value, Matrix):
        return value
    value = read_input(option, value)
    if not isinstance(value, Mapping):
        raise InvalidOption(option, shown(value), "a matrix (a dictionary with hosts and seconds) or a path is wanted")
    if value.get("format", FORMAT) != FORMAT:
        raise InvalidOption(f"{option}.format", value.get("format"), f"format {FORMAT} is wanted")
    hosts = value.get("hosts")
    if not isinstance(hosts, (list, tuple)) or not all(isinstance(h, str) and h for h in hosts):
        raise InvalidOption(f"{option}.hosts", shown(hosts), "a list of host names is wanted")
    hosts = [str.__str__(h) for h in hosts]
    if len(set(hosts)) != len(hosts):
        raise InvalidOption(f"{option}.hosts", next(h for h in hosts if hosts.count(h) > 1), "each host once is wanted")
    matrix = Matrix(hosts)
    if value.get("seconds") is not None:
        matrix.rows = _rows(f"{option}.seconds", value["seconds"], len(hosts), hosts, diagonal=False)
    elif value.get("class_of") is not None:
        _parse_classes(matrix, value, option)
    else:
        raise InvalidOption(option, shown(sorted(value)), "either seconds, or class_of with class_seconds, is wanted")
    for entry in value.get("exceptions") or []:
        if not isinstance(entry, (list, tuple)) or len(entry) != 3:
            raise InvalidOption(f"{option}.exceptions", shown(entry), "[from, to, seconds] is wanted")
        i, j = matrix.pair(f"{option}.exceptions", entry[:2])
        seconds = INF if entry[2] is None else number(f"{option}.exceptions[{entry[0]}, {entry[1]}]", entry[2])
        matrix.set_seconds(i, j, seconds)
    matrix.set_sites(value.get("sites"), f"{option}.sites")
    matrix.limits.add(value.get("limits"), matrix.index, f"{option}.limits")
    matrix.set_shared_pools(value.get("shared_pools") or [], f"{option}.shared_pools")
    for entry in value.get("uncertain") or []:
        matrix.uncertain.add(matrix.pair(f"{option}.uncertain", entry))
    if value.get("measured") is not None:
        matrix.measured = {matrix.pair(f"{option}.measured", entry) for entry in value["measured"]}
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
        raise InvalidOption(f"{option}.class_of", shown(class_of), f"{len(matrix.hosts)} class numbers are wanted")
    for c in class_of:
        if isinstance(c, bool) or not isinstance(c, int) or not 0 <= c < count:
            raise InvalidOption(f"{option}.class_of", shown(c), f"class numbers from 0 to {count - 1} are wanted")
    matrix.class_of = [int(c) for c in class_of]
    labels = value.get("classes") or labels
    if not isinstance(labels, (list, tuple)) or len(labels) != count:
        raise InvalidOption(f"{option}.classes", shown(labels), f"a list of {count} names is wanted")
    matrix.site = [str(labels[c]) for c in matrix.class_of]


def as_dict(hosts: Sequence[str], rows: Iterable[Iterable[float]], **more: t.Any) -> dict[str, t.Any]:
    """The documented dense form: null for inf, 0 on the diagonal."""
    seconds = [[0 if i == j else (None if x == INF else x) for j, x in enumerate(row)] for i, row in enumerate(rows)]
    return {"format": FORMAT, "hosts": list(hosts), "seconds": seconds, **more}
