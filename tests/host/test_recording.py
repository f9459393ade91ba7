"""What was recorded can be read: while it grows, after a cut anywhere, around a damaged place."""

from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.core import recording
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.recording import (
    RecordingReader,
    RecordingWriter,
    metadata,
    read_recording,
)

READS = [b"first", b"\x00\xff" * 40, b"x", recording.CHUNK_MAGIC + b"inside", b"last one"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "night.rec"


def write(path: Path, reads: list[bytes]) -> list[int]:
    """Record the reads; where each chunk begins, and the end."""
    edges = []
    with RecordingWriter(path, metadata("sim")) as writer:
        for number, data in enumerate(reads):
            edges.append(writer.size)
            writer.write(data, wall_ns=1_000 + number, monotonic_ns=5 + number)
        edges.append(writer.size)
    return edges


def test_what_was_read_comes_back_with_its_times_and_metadata(path: Path) -> None:
    write(path, READS)
    meta, chunks = read_recording(path)
    assert [chunk.data for chunk in chunks] == READS
    assert [(c.sequence, c.wall_ns, c.monotonic_ns) for c in chunks[:2]] == [
        (0, 1_000, 5),
        (1, 1_001, 6),
    ]
    assert meta["port"] == "sim"
    assert set(meta) == {"port", "wall_ns", "guesthouse", "wire"}


def test_a_recording_cut_at_any_byte_yields_all_whole_chunks(
    path: Path,
) -> None:
    edges = write(path, READS)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        if size < edges[0]:
            with pytest.raises(GuesthouseError) as caught:
                read_recording(path)
            assert caught.value.code is ExitCode.DAMAGED
            continue
        with RecordingReader(path) as reader:
            found = [chunk.data for chunk in reader.chunks()]
            count = sum(edge <= size for edge in edges[1:])
            assert found == READS[:count], f"cut at {size}"
            assert reader.tail_bytes == size - edges[count]
            assert (reader.damaged_chunks, reader.skipped_bytes) == (0, 0)


def test_every_byte_damaged_once_costs_one_chunk_and_says_so(path: Path) -> None:
    edges = write(path, READS)
    whole = path.read_bytes()
    for at in range(edges[0], edges[-2]):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x21]) + whole[at + 1 :])
        hit = sum(edge <= at for edge in edges) - 1
        with RecordingReader(path) as reader:
            found = [chunk.data for chunk in reader.chunks()]
            assert found == READS[:hit] + READS[hit + 1 :], f"byte {at}"
            assert reader.damaged_chunks == 1
            assert reader.skipped_bytes == edges[hit + 1] - edges[hit]


def test_a_damaged_last_chunk_loses_nothing_before_it(path: Path) -> None:
    edges = write(path, READS)
    whole = path.read_bytes()
    for at in range(edges[-2], len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x21]) + whole[at + 1 :])
        with RecordingReader(path) as reader:
            assert [chunk.data for chunk in reader.chunks()] == READS[:-1]
            assert reader.tail_bytes + reader.skipped_bytes == edges[-1] - edges[-2]


def test_a_damaged_header_loses_the_metadata_and_no_chunk(path: Path) -> None:
    edges = write(path, READS)
    whole = bytearray(path.read_bytes())
    for at in range(10, edges[0]):  # behind magic and format
        damaged = whole.copy()
        damaged[at] ^= 0x21
        path.write_bytes(damaged)
        with RecordingReader(path) as reader:
            assert reader.header_damaged
            assert [chunk.data for chunk in reader.chunks()] == READS


def test_it_can_be_read_while_it_grows(path: Path) -> None:
    with RecordingWriter(path, metadata("sim")) as writer, RecordingReader(path) as reader:
        assert list(reader.chunks()) == []
        writer.write(b"one")
        assert [chunk.data for chunk in reader.chunks()] == [b"one"]
        writer.write(b"two")
        writer.write(b"three")
        assert [chunk.data for chunk in reader.chunks()] == [b"two", b"three"]


def test_a_chunk_that_is_half_written_is_read_once_it_is_whole(path: Path) -> None:
    edges = write(path, [b"one", b"two"])
    whole = path.read_bytes()
    path.write_bytes(whole[: edges[1] + 30])
    with RecordingReader(path) as reader:
        assert [chunk.data for chunk in reader.chunks()] == [b"one"]
        with path.open("r+b") as file:
            file.write(whole)
        assert [chunk.data for chunk in reader.chunks()] == [b"two"]
        assert (reader.tail_bytes, reader.damaged_chunks) == (0, 0)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=12), st.integers(1, 64))
def test_reading_in_blocks_of_any_size_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, reads: list[bytes], block: int
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "r.rec"
    write(path, reads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "_BLOCK", block)
        assert [chunk.data for chunk in read_recording(path)[1]] == reads


def test_a_long_read_is_split_into_chunks(path: Path) -> None:
    data = bytes(range(256)) * (recording.CHUNK_MAX // 256) + b"rest"
    write(path, [data])
    _, chunks = read_recording(path)
    assert len(chunks) == 2
    assert b"".join(chunk.data for chunk in chunks) == data


def test_an_existing_file_is_never_overwritten(path: Path) -> None:
    path.write_bytes(b"last night")
    with pytest.raises(GuesthouseError, match="not overwritten") as caught:
        RecordingWriter(path, {})
    assert caught.value.code is ExitCode.USAGE
    assert path.read_bytes() == b"last night"


def test_a_full_device_says_so_at_once() -> None:
    device = Path("/dev/full")
    if not device.exists() or not stat.S_ISCHR(device.stat().st_mode):
        pytest.skip("this system has no /dev/full")
    with pytest.raises(GuesthouseError, match="no space left") as caught:
        RecordingWriter(device, metadata("sim"))
    assert caught.value.code is ExitCode.DISK_FULL


def test_a_disk_that_fills_up_keeps_all_chunks_whole_and_says_what_to_do(path: Path) -> None:
    """RLIMIT_FSIZE stands in for the disk: the write is cut short in the same way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = RecordingWriter(path, metadata("sim"))
    written = 0
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
        with pytest.raises(GuesthouseError, match="no space left") as caught:
            while True:
                writer.write(b"telemetry " * 7)
                written += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.code is ExitCode.DISK_FULL
    assert "free space" in caught.value.hint
    assert written > 3
    assert path.stat().st_size == writer.size  # the piece that did fit was taken back
    # Space was made: the recording goes on where it was.
    writer.write(b"more")
    writer.close()
    with RecordingReader(path) as reader:
        assert [c.data for c in reader.chunks()] == [b"telemetry " * 7] * written + [b"more"]
        assert (reader.tail_bytes, reader.damaged_chunks) == (0, 0)


def test_a_write_that_takes_only_a_part_is_continued(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RecordingWriter(path, metadata("sim"))

    class Slow:
        """A file that takes seven bytes at a time."""

        def __init__(self, file: object) -> None:
            self.file = file

        def write(self, data: memoryview) -> int:
            return int(os.write(self.file.fileno(), data[:7]))  # type: ignore[attr-defined]

    real = writer._file
    monkeypatch.setattr(writer, "_file", Slow(real))
    writer.write(b"a long piece of telemetry")
    real.close()
    assert [chunk.data for chunk in read_recording(path)[1]] == [b"a long piece of telemetry"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"hello, this is a text file", "is not a recording"),
        (recording.MAGIC[:5], "ends within its header"),
        (recording.MAGIC + b"\x63\x00" + bytes(8), "format 99"),
    ],
)
def test_what_is_no_recording_is_refused_with_words(path: Path, content: bytes, says: str) -> None:
    path.write_bytes(content)
    with pytest.raises(GuesthouseError, match=says) as caught:
        RecordingReader(path)
    assert caught.value.code is ExitCode.DAMAGED
    assert caught.value.hint


def test_a_recording_that_is_not_there_or_cannot_be_made_is_refused_with_words(path: Path) -> None:
    with pytest.raises(GuesthouseError, match="cannot read"):
        RecordingReader(path)
    with pytest.raises(GuesthouseError, match="cannot write") as caught:
        RecordingWriter(path / "no" / "folder.rec", {})
    assert "folder that exists" in caught.value.hint
