# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Where the bytes of an image go as they arrive: into a file of the pool, unpacked on the way where they are compressed."""

from __future__ import annotations

import bz2
import hashlib
import importlib
import lzma
import os
import selectors
import subprocess
import tempfile
import typing as t
import zlib

from .._errors import FleetError
from .._text import clean
from . import sparse_copy
from .room import Promise
from .runner import find_program

# What a decompressor may need of the host's memory. xz -9 takes 65 MiB, zstd --long 128 MiB.
_MEMORY_BYTES = 160 << 20
_PIECE_BYTES = 1 << 20
# A decoder is made for each stream, and it hands back what it did not take: many small streams cost time although they hold nothing.
# The smallest that are made on purpose hold 64 KiB (bgzip).
_FED_BYTES = 64 << 10
_FREE_STREAMS = 10_000
_LEAST_STREAM_BYTES = 1 << 10
# The program zstd reads more than 1 MiB ahead of what it gives out, which can be as many frames and blocks as this.
_FREE_FRAMES = 100_000
_FREE_BLOCKS = 500_000


class Undecodable(FleetError):
    """What arrived is not what its name, or ``compression``, says."""

    kind = "damaged_image"


class UnpackerMissing(FleetError):
    kind = "tool_missing"


def check_unpacker(kind: str, name: str) -> None:
    """:raises UnpackerMissing: this host cannot unpack it. To be asked before anything is fetched."""
    if kind == "zstd" and _zstd_module() is None and find_program("zstd") is None:
        raise UnpackerMissing(
            f"{name} is compressed with zstd, which this host cannot unpack: install the package zstd on it, or give a source that is "
            "not compressed, or with xz, gzip or bzip2. Nothing was fetched.",
            program="zstd",
            package="zstd",
        )


def _zstd_module() -> t.Any:
    """Python's own, from 3.14 on."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return None


class Sink(t.Protocol):
    def expect(self, length: int) -> None:
        """How many bytes will come, -1 where nobody knows. :raises NoSpace: there is no room for them."""

    def write(self, block: bytes) -> None: ...

    def finish(self) -> None:
        """All of it has come. :raises FleetError: that cannot be."""

    def restart(self) -> None:
        """What has come so far does not count; the file begins again."""

    def close(self) -> None:
        """Give up what is held, whether it is finished or not."""


class FileSink:
    """An open empty file of a pool; runs of zeros become holes.

    :param promise: of its room, which it takes as bytes come: an archive may become anything.
    :param written: told up to where the file is complete, whenever that has grown.
    :param restarted: told when it is empty again.
    """

    def __init__(
        self, descriptor: int, promise: Promise, written: t.Callable[[int], t.Any], restarted: t.Callable[[], t.Any] = lambda: None
    ) -> None:
        self._descriptor = descriptor
        self._promise = promise
        self._written = written
        self._restarted = restarted
        self.position = 0

    def expect(self, length: int) -> None:
        self._promise.cover(length)

    def write(self, block: bytes) -> None:
        self._promise.cover(self.position + len(block), ahead=True)  # holes count too: a file of zeros would never end
        zeros = bytes(sparse_copy.HOLE_BYTES)
        for offset in range(0, len(block), sparse_copy.HOLE_BYTES):
            piece = block[offset : offset + sparse_copy.HOLE_BYTES]
            if piece != zeros[: len(piece)]:
                sparse_copy.write_at(self._descriptor, piece, self.position + offset)
        self.position += len(block)
        # What was left out at its end is there as a hole.
        os.ftruncate(self._descriptor, self.position)
        self._written(self.position)

    def finish(self) -> None:
        pass

    def restart(self) -> None:
        os.ftruncate(self._descriptor, 0)
        self.position = 0
        self._restarted()

    def close(self) -> None:
        pass


class HashingSink:
    """Hands everything on, and knows the digests of what has gone through, and how much it was."""

    def __init__(self, target: Sink, algorithms: t.Iterable[str]) -> None:
        self._target = target
        self._algorithms = tuple(algorithms)
        self._begin()

    def _begin(self) -> None:
        self._hashers = {name: hashlib.new(name) for name in self._algorithms}
        self.size_bytes = 0

    def digest(self, algorithm: str) -> str:
        return self._hashers[algorithm].hexdigest()

    def expect(self, length: int) -> None:
        self._target.expect(length)

    def write(self, block: bytes) -> None:
        for hasher in self._hashers.values():
            hasher.update(block)
        self.size_bytes += len(block)
        self._target.write(block)

    def finish(self) -> None:
        self._target.finish()

    def restart(self) -> None:
        self._begin()
        self._target.restart()

    def close(self) -> None:
        self._target.close()


class UnpackingSink:
    """Unpacks what comes. Nothing but the target's own limit bounds what that may become, and it is kept to at every step, so that
    neither memory nor the pool is filled by a small file that says it is a large one.
    """

    def __init__(self, kind: str, name: str, target: Sink) -> None:
        self._kind, self._name, self._target = kind, name, target
        self._decoder = self._made()

    def _made(self) -> _Decoder:
        if self._kind == "zstd":
            module = _zstd_module()
            return _Streams(lambda: _ZstdModule(module), b"") if module is not None else _ZstdProgram()
        make: dict[str, t.Callable[[], t.Any]] = {"gzip": _Gzip, "xz": _Xz, "bzip2": bz2.BZ2Decompressor}
        # xz pads its streams with zeros, and gzip's on tapes are.
        return _Streams(make[self._kind], b"\0" if self._kind in ("xz", "gzip") else b"")

    def expect(self, length: int) -> None:
        """How much it becomes is seen when it comes."""

    def write(self, block: bytes) -> None:
        self._pass_on(self._decoder.feed(block))

    def finish(self) -> None:
        self._pass_on(self._decoder.finish())
        self._target.finish()

    def _pass_on(self, pieces: t.Iterator[bytes]) -> None:
        try:
            for piece in pieces:
                self._target.write(piece)
        except (lzma.LZMAError, zlib.error, EOFError, ValueError, _Broken) as error:
            raise Undecodable(self._complaint(error), name=self._name, compression=self._kind) from None
        except OSError as error:
            if error.errno is not None or self._kind != "bzip2":
                raise
            raise Undecodable(self._complaint(error), name=self._name, compression=self._kind) from None  # of bz2, without a number

    def _complaint(self, error: BaseException) -> str:
        return (
            f"{self._name} cannot be unpacked as {self._kind}: {clean(error, 200) or 'it is damaged'}; nothing was kept. If it is "
            "compressed in another way, or not at all, say so with compression."
        )

    def restart(self) -> None:
        self._decoder.close()
        self._decoder = self._made()
        self._target.restart()

    def close(self) -> None:
        self._decoder.close()
        self._target.close()


class _Broken(Exception):
    """What a decoder that is no library says."""


class _Decoder(t.Protocol):
    def feed(self, block: bytes) -> t.Iterator[bytes]: ...

    def finish(self) -> t.Iterator[bytes]: ...

    def close(self) -> None: ...


class _Gzip:
    """As bz2's and lzma's decompressors are."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        # What was not taken last time goes in again.
        found = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(found) < max_length
        return found

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


class _Xz:
    def __init__(self) -> None:
        self._inner = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(data, max_length)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._inner, name)


class _ZstdModule:
    def __init__(self, module: t.Any) -> None:
        self._inner = module.ZstdDecompressor(options={module.DecompressionParameter.window_log_max: 27})
        self._error = module.ZstdError

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return t.cast(bytes, self._inner.decompress(data, max_length))
        except self._error as error:
            raise _Broken(str(error)) from None

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._inner, name)


def _check_count(streams: int, free: int, unpacked_bytes: int) -> None:
    """:raises _Broken: so many streams or blocks for so little, which nobody makes for a purpose."""
    if streams > free + unpacked_bytes // _LEAST_STREAM_BYTES:
        raise _Broken(f"it has {streams} streams or blocks by now, which hold {unpacked_bytes} bytes")


class _Streams:
    """One or more compressed streams, one behind the other, as all of these formats may have them."""

    def __init__(self, make: t.Callable[[], t.Any], padding: bytes) -> None:
        self._make = make
        self._padding = padding
        self._inner: t.Any = None
        self._complete = False
        self._streams = self._unpacked_bytes = 0

    def feed(self, block: bytes) -> t.Iterator[bytes]:
        for at in range(0, len(block), _FED_BYTES):
            for piece in self._feed(block[at : at + _FED_BYTES]):
                self._unpacked_bytes += len(piece)
                yield piece

    def _feed(self, block: bytes) -> t.Iterator[bytes]:
        while block:
            if self._inner is None:
                if self._complete:
                    block = block.lstrip(self._padding) if self._padding else block
                    if not block:
                        return
                self._inner = self._next()
            yield from self._piece(block)
            block = b""
            if self._inner.eof:
                block, self._inner, self._complete = self._inner.unused_data, None, True

    def _next(self) -> t.Any:
        """:raises _Broken: so many streams for so little, which nobody makes for a purpose."""
        self._streams += 1
        _check_count(self._streams, _FREE_STREAMS, self._unpacked_bytes)
        return self._make()

    def _piece(self, block: bytes) -> t.Iterator[bytes]:
        yield self._inner.decompress(block, _PIECE_BYTES)
        while not self._inner.eof and not self._inner.needs_input:
            yield self._inner.decompress(b"", _PIECE_BYTES)

    def finish(self) -> t.Iterator[bytes]:
        if self._inner is not None or not self._complete:
            raise _Broken("it ends early")
        yield from ()

    def close(self) -> None:
        self._inner = None


class _ZstdBlocks:
    """Counts the frames and blocks of what comes, of which the program zstd tells nothing."""

    def __init__(self) -> None:
        self.frames = self.blocks = 0
        self._step: t.Callable[[int], None] = self._magic
        self._wanted, self._head = 4, bytearray()
        self._skipped = 0
        self._checksum_bytes = 0

    def feed(self, block: bytes | memoryview) -> None:
        at = 0
        while at < len(block):
            if self._skipped:
                passed = min(self._skipped, len(block) - at)
                self._skipped, at = self._skipped - passed, at + passed
                continue
            more = block[at : at + self._wanted - len(self._head)]
            self._head += more
            at += len(more)
            if len(self._head) == self._wanted:
                number = int.from_bytes(self._head, "little")
                self._head.clear()
                self._step(number)

    def _next(self, step: t.Callable[[int], None], wanted: int, skipped: int = 0) -> None:
        self._step, self._wanted, self._skipped = step, wanted, skipped

    def _magic(self, number: int) -> None:
        self.frames += 1
        if number == 0xFD2FB528:
            self._next(self._descriptor, 1)
        elif number >> 4 == 0x184D2A5:
            self._next(lambda size: self._next(self._magic, 4, size), 4)
        else:  # no zstd, which the program will say
            self._next(self._magic, 4, 1 << 62)

    def _descriptor(self, number: int) -> None:
        whole, self._checksum_bytes = number >> 5 & 1, 4 * (number >> 2 & 1)
        size_bytes = (whole, 2, 4, 8)[number >> 6]
        self._next(self._block, 3, (1 - whole) + (0, 1, 2, 4)[number & 3] + size_bytes)

    def _block(self, number: int) -> None:
        self.blocks += 1
        one_byte_again_and_again = number >> 1 & 3 == 1
        content = 1 if one_byte_again_and_again else number >> 3
        if number & 1:
            self._next(self._magic, 4, content + self._checksum_bytes)
        else:
            self._next(self._block, 3, content)


class _ZstdProgram:
    """The program zstd beside this process, for hosts whose Python has none. It is fed and emptied by turns."""

    def __init__(self) -> None:
        program = find_program("zstd")
        if program is None:
            raise UnpackerMissing("This host has no program zstd; install the package zstd.", program="zstd", package="zstd")
        self._blocks, self._unpacked_bytes = _ZstdBlocks(), 0
        self._complaints = tempfile.TemporaryFile()
        command = [program, "--decompress", "--stdout", "--no-progress", "--quiet", f"--memory={_MEMORY_BYTES >> 20}MB"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, close_fds=True, bufsize=0
        )
        self._input, self._output = t.cast(t.Any, self._process.stdin), t.cast(t.Any, self._process.stdout)
        for pipe in (self._input, self._output):
            os.set_blocking(pipe.fileno(), False)

    def feed(self, block: bytes) -> t.Iterator[bytes]:
        left = memoryview(block)
        while left:
            with selectors.DefaultSelector() as selector:
                selector.register(self._input, selectors.EVENT_WRITE)
                selector.register(self._output, selectors.EVENT_READ)
                ready = [key.fileobj for key, _events in selector.select()]
            if self._output in ready:
                piece = self._output.read(_PIECE_BYTES)
                if piece == b"":  # it has ended although there is more
                    self._end()
                    raise _Broken("something follows its end")
                if piece:
                    self._unpacked_bytes += len(piece)
                    yield piece
            if self._input in ready:
                try:
                    taken = self._input.write(left[:_FED_BYTES]) or 0
                    self._blocks.feed(left[:taken])
                    _check_count(self._blocks.frames, _FREE_FRAMES, self._unpacked_bytes)
                    _check_count(self._blocks.blocks, _FREE_BLOCKS, self._unpacked_bytes)
                    left = left[taken:]
                except BrokenPipeError:
                    self._end()
                    raise _Broken("something follows its end") from None

    def finish(self) -> t.Iterator[bytes]:
        self._input.close()
        os.set_blocking(self._output.fileno(), True)
        while True:
            piece = self._output.read(_PIECE_BYTES)
            if not piece:
                break
            yield piece
        self._end()

    def _end(self) -> None:
        """:raises _Broken: it did not end well."""
        self._input.close()
        self._output.close()
        code = self._process.wait()
        if code:
            self._complaints.seek(0)
            said = clean(self._complaints.read(4096), 200).strip()
            raise _Broken(said or f"zstd ended with {code}")

    def close(self) -> None:
        self._input.close()
        self._output.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._complaints.close()
