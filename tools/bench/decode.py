"""How fast a recording becomes columns: our loader beside plain struct loops, in one run.

    python tools/bench/decode.py [--records 1000000] [--keep FILE]

The recording is synthetic: eight guests at trace level, a summary a second, log lines, batches
as full as frames can be. Every contestant reads the same file with the same reader, checks every
checksum, and ends with the same polars table of slices (compared at the end) and all other
records decoded. The loops are what one writes first:

    iter_unpack    struct.iter_unpack over the records of each frame, a second unpack of the body
    unpack_from    one struct.unpack_from call for each record, and one for its body
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct, iter_unpack

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "host")]

import polars as pl  # noqa: E402

from guesthouse.analysis.columns import decode_block  # noqa: E402
from guesthouse.analysis.load import load  # noqa: E402
from guesthouse.analysis.report import analyze  # noqa: E402
from guesthouse.core import wire  # noqa: E402
from guesthouse.core.frames import Frame, FrameDecoder  # noqa: E402
from guesthouse.core.recording import RecordingReader, RecordingWriter, metadata  # noqa: E402
from tests.support import frames as agent  # noqa: E402

GUESTS = range(2, 10)
SLICES = 60  # of each guest in a second
RUNS = 3
SLICE_COLUMNS = ["number", "instance", "time_us", "cpu_us", "wall_us", "wait_us", "heap_change"]

BODIES = {
    getattr(wire, name.replace("BODY_", "RECORD_")): Struct(getattr(wire, name))
    for name in vars(wire)
    if name.startswith("BODY_") and name != "BODY_SIZE"
}


def second_of(board: agent.Agent, second: int) -> bytes:
    """What eight busy guests send in one second."""
    now = second * 1_000_000
    records: list[bytes] = []
    for turn in range(SLICES):
        at = now + turn * 16_000
        records += [agent.slice_(g, at + g * 1_500, 400 + (turn * g * 37) % 900) for g in GUESTS]
    for g in GUESTS:
        records += [
            agent.cpu(g, now + 990_000, second * 40_000 * g // 8, 0, second * SLICES),
            agent.mem(g, now + 990_000, 4_000 + second % 100),
            agent.counts(g, now + 990_000),
        ]
    records += agent.text(3, now + 5, wire.TEXT_LOG, f"second {second}: all is well here")
    records += [agent.heap(now), agent.link(now), agent.time(now, 1, 1), agent.time_more(now, 1)]
    return board.batches(now + 999_000, records)


def make(path: Path, records: int) -> None:
    board = agent.Agent()
    board.trace = True
    names = [agent.instance(g, 500, f"guest{g}") for g in GUESTS]
    second = 0
    with RecordingWriter(path, metadata("synthetic")) as writer:
        writer.write(board.batches(1_000, names))
        while board.number < records:
            second += 1
            data = second_of(board, second)
            for at in range(0, len(data), 1_000):  # as a serial line delivers it
                writer.write(data[at : at + 1_000])


def payloads(path: Path) -> Iterator[bytes]:
    """The batches of the recording: reader and frames as in the loader, for every contestant."""
    decoder = FrameDecoder()
    pending: list[bytes] = []
    with RecordingReader(path) as reader:
        for chunk in reader.chunks():
            pending.append(chunk.data)
            if len(pending) == 1_000:
                yield from batches_in(decoder, b"".join(pending))
                pending.clear()
        yield from batches_in(decoder, b"".join(pending))


def batches_in(decoder: FrameDecoder, data: bytes) -> Iterator[bytes]:
    for item in decoder.feed(data):
        if isinstance(item, Frame) and item.kind == wire.FRAME_BATCH:
            yield item.payload


Rows = dict[int, list[tuple[object, ...]]]


def iter_unpack_rows(batches: Iterator[bytes]) -> Rows:
    header = Struct(wire.BATCH_HEADER)
    rows: Rows = {kind: [] for kind in BODIES}
    bodies = {kind: body.unpack for kind, body in BODIES.items()}
    for payload in batches:
        _, number, sent, *_ = header.unpack_from(payload)
        records = memoryview(payload)[wire.BATCH_HEADER_SIZE :]
        for kind, instance, second, us, body in iter_unpack("<BBHI24s", records):
            time_us = (sent - (sent - second) % 65_536) * 1_000_000 + us
            rows[kind].append((number, instance, time_us, *bodies[kind](body)))
            number += 1
    return rows


def unpack_from_rows(batches: Iterator[bytes]) -> Rows:
    header = Struct(wire.BATCH_HEADER)
    head = Struct(wire.RECORD_HEADER)
    rows: Rows = {kind: [] for kind in BODIES}
    for payload in batches:
        _, number, sent, *_ = header.unpack_from(payload)
        for at in range(wire.BATCH_HEADER_SIZE, len(payload), wire.RECORD_SIZE):
            kind, instance, second, us = head.unpack_from(payload, at)
            time_us = (sent - (sent - second) % 65_536) * 1_000_000 + us
            body = BODIES[kind].unpack_from(payload, at + wire.RECORD_HEADER_SIZE)
            rows[kind].append((number, instance, time_us, *body))
            number += 1
    return rows


def slices_of(rows: Rows) -> pl.DataFrame:
    """The columns of the loop's rows; all types, of which the slices are returned."""
    tables = {
        kind: pl.DataFrame(list(zip(*of_kind, strict=True)))
        for kind, of_kind in rows.items()
        if of_kind
    }
    slices = tables[wire.RECORD_SLICE]
    return slices.select(pl.nth(place).alias(name) for place, name in enumerate(SLICE_COLUMNS))


def best(job: Callable[[], object], runs: int = RUNS) -> tuple[float, float]:
    """The least wall time and the least CPU time (of all threads) of a few runs, in seconds."""
    wall, busy = [], []
    for _ in range(runs):
        begin, cpu = time.perf_counter(), time.process_time()
        job()
        wall.append(time.perf_counter() - begin)
        busy.append(time.process_time() - cpu)
    return min(wall), min(busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="write the recording here and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "bench.rec"
        if not path.exists():
            make(path, options.records)
        report(path)


def report(path: Path) -> None:
    recorded = load(path)
    count = recorded.records
    ours = recorded.table("slice").select(SLICE_COLUMNS).collect()
    for rows in (iter_unpack_rows, unpack_from_rows):
        assert slices_of(rows(payloads(path))).equals(ours, null_equal=True)
    megabytes = path.stat().st_size / 1e6
    print(f"{count:,} records in {megabytes:.1f} MB, {ours.height:,} of them slices")
    print(f"polars {pl.__version__} with {pl.thread_pool_size()} threads; best of {RUNS} runs")
    batches = list(payloads(path))
    records = b"".join(batch[wire.BATCH_HEADER_SIZE :] for batch in batches)
    table = recorded.batches.collect()
    compare(
        "records in memory to columns",
        count,
        {
            "analysis.columns": lambda: decode_block(records, table),
            "struct.iter_unpack loop": lambda: slices_of(iter_unpack_rows(iter(batches))),
            "struct.unpack_from loop": lambda: slices_of(unpack_from_rows(iter(batches))),
        },
    )
    compare(
        "file to columns, checksums and all",
        count,
        {
            "analysis.load": lambda: load(path),
            "struct.iter_unpack loop": lambda: slices_of(iter_unpack_rows(payloads(path))),
            "struct.unpack_from loop": lambda: slices_of(unpack_from_rows(payloads(path))),
        },
    )
    compare(
        "file to report",
        count,
        {"analysis.report": lambda: analyze(path)},
    )


def compare(title: str, count: int, jobs: dict[str, Callable[[], object]]) -> None:
    """Print each job's time beside that of the first."""
    print(f"\n{title:36} wall s   cpu s  records/s  slower by (wall, cpu)")
    first: tuple[float, float] | None = None
    for name, job in jobs.items():
        wall, busy = best(job)
        first = first or (wall, busy)
        print(
            f"  {name:34} {wall:6.3f}  {busy:6.3f} {count / wall:10,.0f}"
            f" {wall / first[0]:9.1f} {busy / first[1]:9.1f}"
        )


if __name__ == "__main__":
    main()
