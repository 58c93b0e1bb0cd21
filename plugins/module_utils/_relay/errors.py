# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Named failures of the data path, with fields. The modules turn them into the user's sentences."""

from __future__ import annotations

from .._errors import FleetError


class RelayError(FleetError):
    """A failure of the data path. Its message and fields are fit for a terminal, whatever a peer wrote into them.

    :param message: complete without the traceback.
    :param fields: JSON-serialisable facts; ``kind`` names the failure.
    """

    kind = "relay"


class BadChunkList(RelayError):
    """A chunk list that cannot be what it says it is."""

    kind = "chunk_list"


class ProtocolError(RelayError):
    """What came over the wire is not what this protocol allows."""

    kind = "protocol"


class LimitExceeded(ProtocolError):
    """A peer took, or sent, more than one peer may."""

    kind = "limit"


class VersionMismatch(ProtocolError):
    """The other side speaks another version; the message names both."""

    kind = "version"


class EncryptionMismatch(VersionMismatch):
    """One side encrypts, the other does not; the message names both."""

    kind = "encryption"


class PeerLost(RelayError):
    """The connection ended or fell silent before the work was done."""

    kind = "peer_lost"


class PeerRefused(RelayError):
    """The peer answered, and will not serve this base to us."""

    kind = "peer_refused"


class WrongIdentity(RelayError):
    """The certificate does not belong to the host that was meant."""

    kind = "identity"


class ClockDiffers(RelayError):
    """This host's clock lies outside of the time for which the run's certificates are valid; the message names both clocks."""

    kind = "clock"


class CorruptChunk(RelayError):
    """The bytes of a chunk do not match its digest."""

    kind = "corrupt_chunk"


class WrongDigest(RelayError):
    """All that was stored is not what the base's name says; ``fields.found`` is its digest."""

    kind = "wrong_digest"


class StorageFailed(RelayError):
    """This host's own pool cannot take, or give, the bytes."""

    kind = "storage"


class PartialInUse(RelayError):
    """Another process on a host of this pool is fetching the same base."""

    kind = "in_use"


class PartialContent(RelayError):
    """An endpoint gave fewer bytes than were asked for."""

    kind = "partial_content"

    def __init__(self, requested: int, available: int) -> None:
        super().__init__(
            f"{requested} bytes were asked for and {available} are there",
            requested=requested,
            available=available,
        )


class Cancelled(RelayError):
    """The node is being stopped."""

    kind = "cancelled"


class ControlFailed(RelayError):
    """The node of this run did not answer on its control socket."""

    kind = "control"


def describe(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def storage_failure(error: OSError) -> StorageFailed:
    return StorageFailed(f"The pool cannot take the base: {describe(error)}", errno=error.errno or 0)
