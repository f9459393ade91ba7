"""A recording: the bytes of the line as they were read, with the host's times, append-only.

The file begins with a header and goes on with chunks, one for each read:

    file    magic(8) format version(2) metadata length(4) crc32(4) | metadata as JSON
    chunk   magic(4) crc32(4) sequence(4) wall ns(8) monotonic ns(8) length(4) | bytes

All integers are little endian. A chunk's crc covers everything behind it, to the chunk's last
byte. Each chunk goes out in one write, so the file can be read while it grows; whatever cuts it
short costs the last chunk at most. The sequence tells how many chunks a damaged place has cost.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import IO, Any, NamedTuple, Self
from zlib import crc32

from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.units import fmt_bytes

# Like PNG's: a byte above 127, CR LF and ^Z show at once what a text-mode copy did to the file.
MAGIC = b"\x8bGHR\r\n\x1a\n"
FORMAT = 1
CHUNK_MAGIC = b"\xc3GHC"
CHUNK_MAX = 1 << 20  # longer reads are split; a longer length in a file is damage

_FILE = Struct("<8sHII")
_CHUNK = Struct("<4sIIqqI")
_CHECKED = 8  # where in a chunk begins what its crc covers
_BLOCK = 1 << 20
# Full: the disk, the quota on it, or the size that a process may write (RLIMIT_FSIZE, FAT32).
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Chunk(NamedTuple):
    """What one read delivered. ``wall_ns`` is Unix time, ``monotonic_ns`` never goes back.

    A tuple, because a night has millions of them: it is made in a third of a dataclass's time.
    """

    sequence: int
    wall_ns: int
    monotonic_ns: int
    data: bytes


def metadata(port: str) -> dict[str, Any]:
    """What the header of a recording made now from ``port`` says."""
    try:
        own = version("guesthouse")
    except PackageNotFoundError:  # from a checkout that is not installed
        own = "unknown"
    return {"port": port, "wall_ns": time.time_ns(), "guesthouse": own, "wire": wire.VERSION}


class RecordingWriter:
    """Writes a new recording. Never overwrites a file: last night's may be the only one.

    Every error is a GuesthouseError with what to do about it. After any of them the file holds
    all chunks that were written before, whole.
    """

    def __init__(self, path: Path | str, meta: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.chunks = 0
        self._end = 0
        self._file = self._open()
        text = json.dumps(dict(meta)).encode()
        try:
            self._write(_FILE.pack(MAGIC, FORMAT, len(text), crc32(text)) + text)
        except GuesthouseError:
            self._file.close()
            raise

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._end

    def write(
        self, data: bytes, wall_ns: int | None = None, monotonic_ns: int | None = None
    ) -> None:
        """Append what one read delivered; the times default to now. Nothing for no bytes."""
        wall_ns = time.time_ns() if wall_ns is None else wall_ns
        monotonic_ns = time.monotonic_ns() if monotonic_ns is None else monotonic_ns
        for start in range(0, len(data), CHUNK_MAX):
            piece = data[start : start + CHUNK_MAX]
            sequence = self.chunks & 0xFFFFFFFF
            head = _CHUNK.pack(CHUNK_MAGIC, 0, sequence, wall_ns, monotonic_ns, len(piece))
            checked = head[_CHECKED:] + piece
            self._write(CHUNK_MAGIC + crc32(checked).to_bytes(4, "little") + checked)
            self.chunks += 1

    def close(self) -> None:
        """Close the file once its bytes are on the disk."""
        if self._file.closed:
            return
        try:
            # Only here: a sync while the line delivers could overflow its buffer.
            os.fsync(self._file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):  # pipe or device
                raise self._error(error) from error
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> IO[bytes]:
        """The file, unbuffered: what is written is in the system's hands at once."""
        try:
            # A device or a pipe cannot be overwritten, only written to.
            new = not self.path.exists() or self.path.is_file()
            return self.path.open("xb" if new else "wb", buffering=0)
        except FileExistsError as error:
            raise GuesthouseError(
                f"{self.path} exists and is not overwritten",
                "name another file, or remove this one first",
                ExitCode.USAGE,
            ) from error
        except OSError as error:
            raise self._error(error) from error

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                # A full disk first takes a part, then nothing.
                left = left[self._file.write(left) or 0 :]
        except OSError as error:
            self._cut_back()
            raise self._error(error) from error
        self._end += len(data)

    def _cut_back(self) -> None:
        """Take the part of a chunk that did not fit off the file again, if the file allows it;
        readers cope where it does not."""
        with suppress(OSError):
            self._file.seek(self._end)
            self._file.truncate()

    def _error(self, error: OSError) -> GuesthouseError:
        kept = f"the recording up to here ({self.chunks} chunks, {fmt_bytes(self._end)}) is whole"
        if error.errno in _FULL:
            return GuesthouseError(
                f"no space left for {self.path}",
                f"{kept}; free space or record to another disk",
                ExitCode.DISK_FULL,
            )
        hint = kept if self.chunks else "name a file in a folder that exists and can be written"
        return GuesthouseError(f"cannot write {self.path}: {error.strerror}", hint)


class RecordingReader:
    """Reads a recording, also one that is being written, was cut short, or is damaged.

    ``chunks()`` yields what is there; call it again for what has come since. Raises
    GuesthouseError (DAMAGED) where the file is no recording.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.damaged_chunks = 0  # lost in damaged places; 0 where only the end is cut
        self.skipped_bytes = 0  # of damaged places
        self.tail_bytes = 0  # behind the last whole chunk: cut short, or just being written
        self.header_damaged = False
        self._sequence = 0
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise GuesthouseError(
                f"cannot read {self.path}: {error.strerror}", "name a recording", ExitCode.USAGE
            ) from error
        try:
            self.meta, self._position = self._header()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def chunks(self) -> Iterator[Chunk]:
        """The whole chunks from where the last call ended to the end of the file."""
        self._file.seek(self._position)
        data = b""
        at = 0  # in data; the file position is self._position
        while True:
            found = _parse(data, at)
            if type(found) is Chunk:
                size = _CHUNK.size + len(found.data)
                at += size
                self._position += size
                if found.sequence > self._sequence:
                    self.damaged_chunks += found.sequence - self._sequence
                self._sequence = found.sequence + 1
                yield found
                continue
            if found is None:
                skip = _resync(data, at)
                self._position += skip
                self.skipped_bytes += skip
                at += skip
                continue
            block = self._file.read(_BLOCK)
            if block:
                data = data[at:] + block
                at = 0
                continue
            # The end. What looks like the beginning of a chunk may be one whose length is damaged.
            skip = _resync(data, at)
            if not isinstance(_parse(data, at + skip), Chunk):
                break
            self._position += skip
            self.skipped_bytes += skip
            at += skip
        self.tail_bytes = len(data) - at

    def _header(self) -> tuple[dict[str, Any], int]:
        """The metadata and where the chunks begin."""
        head = self._file.read(_FILE.size)
        if not head:
            raise self._bad("is empty")
        if not head.startswith(MAGIC[: len(head)]):
            raise self._bad("is not a recording")
        if len(head) < _FILE.size:
            raise self._bad("ends within its header: nothing was recorded")
        _, number, size, checksum = _FILE.unpack(head)
        if number != FORMAT:
            raise GuesthouseError(
                f"{self.path} has format {number}, this guesthouse reads format {FORMAT}",
                "use the version of guesthouse that recorded it, or a newer one",
                ExitCode.DAMAGED,
            )
        text = self._file.read(min(size, CHUNK_MAX))
        if len(text) < size and CHUNK_MAGIC not in text:
            raise self._bad("ends within its header: nothing was recorded")
        if len(text) != size or crc32(text) != checksum:
            # The chunks, if there are any, are found by their magic and need no metadata.
            self.header_damaged = True
            return {}, _FILE.size
        meta = json.loads(text)
        return (meta if isinstance(meta, dict) else {}), _FILE.size + size

    def _bad(self, what: str) -> GuesthouseError:
        return GuesthouseError(
            f"{self.path} {what}",
            "make one with: guesthouse record FILE",
            ExitCode.DAMAGED,
        )


def _parse(data: bytes, at: int) -> Chunk | int | None:
    """The chunk at ``at``; a number where it may be one but ends behind ``data`` (how many bytes
    are needed); None where it is none."""
    if len(data) - at < _CHUNK.size:
        begun = data[at : at + len(CHUNK_MAGIC)]
        return _CHUNK.size if CHUNK_MAGIC.startswith(begun) else None
    magic, checksum, sequence, wall_ns, monotonic_ns, length = _CHUNK.unpack_from(data, at)
    if magic != CHUNK_MAGIC or length > CHUNK_MAX:
        return None
    stop = at + _CHUNK.size + length
    if stop > len(data):
        return _CHUNK.size + int(length)
    checked = data[at + _CHECKED : stop]
    if crc32(checked) != checksum:
        return None
    return Chunk(sequence, wall_ns, monotonic_ns, checked[_CHUNK.size - _CHECKED :])


def _resync(data: bytes, at: int) -> int:
    """How many bytes to skip from ``at`` to the next whole chunk; where there is none, to the
    first place that may still become one, at the latest the end of ``data``."""
    place = at
    undecided: int | None = None
    while (place := data.find(CHUNK_MAGIC, place + 1)) >= 0:
        found = _parse(data, place)
        if isinstance(found, Chunk):
            return place - at
        if found is not None and undecided is None:
            undecided = place
    if undecided is not None:
        return undecided - at
    for size in range(min(len(CHUNK_MAGIC) - 1, len(data) - at - 1), 0, -1):
        if CHUNK_MAGIC.startswith(data[-size:]):
            return len(data) - at - size
    return len(data) - at


def read_recording(path: Path | str) -> tuple[dict[str, Any], list[Chunk]]:
    """A whole recording at once: its metadata and its chunks."""
    with RecordingReader(path) as reader:
        return reader.meta, list(reader.chunks())
