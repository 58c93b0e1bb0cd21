# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the node needs of this host's pools, and what it is asked to bring into them."""

from __future__ import annotations

import typing as t

from ..._base_format.chunk_list import Listed
from ..._base_format.file_digest import FileDigest
from ..download.parent_selection import Route
from ..upload.shared_partial import Place


class Held(t.NamedTuple):
    """Paths of a base that lies in a pool."""

    disk: str
    chunks: str


class Lease(t.Protocol):
    """The right to write a partial, until one of the last three is called."""

    disk: str
    map: str

    def promise(self, size_bytes: int) -> None:
        """Room for the whole of ``disk``, until the right ends. :raises StorageFailed: the pool has none."""

    def digest(self) -> FileDigest:
        """Of ``disk``, which is there by then; kept up to date by the writer, finished by ``publish``."""

    def publish(self, metadata: dict[str, t.Any], chunks: Listed) -> Held:
        """The caller has ended its write access. :raises WrongDigest: the file is not the base; RelayError: OSError:"""

    def discard(self) -> None: ...

    def close(self) -> None: ...


class BaseStore(t.Protocol):
    """The pools of this host, as far as the node needs them."""

    def held(self, pool_path: str, sha256: str) -> Held | None: ...

    def place(self, pool_path: str, sha256: str) -> Place:
        """Where the partial of a base is, whichever process holds it."""

    def claim(self, pool_path: str, sha256: str) -> Lease:
        """:raises PartialInUse: another process is fetching it; RelayError: OSError:"""


class BaseRequest(t.NamedTuple):
    """One base of this host's part of the plan; a route without choices means that the base is here."""

    metadata: dict[str, t.Any]
    pool: str
    pool_path: str
    route: Route
    children: t.Sequence[str] = ()

    @property
    def sha256(self) -> str:
        return str(self.metadata["sha256"])
