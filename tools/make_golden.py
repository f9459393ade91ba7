"""Write the golden fixtures under tests/golden: bytes that both sides of the wire must agree on.

Run it when the protocol grows (``python tools/make_golden.py``), and look at the difference: a
line that changes in records.json is a change of what boards in the field already send.

    session.bin    a session with every record type, console text and a reply
    records.json   every distinct record type of it once: its bytes, and the values they mean
    report.txt     what ``guesthouse analyze`` says about it (RECORDING stands for the file)
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "host")]

from guesthouse.analysis.report import analyze  # noqa: E402
from guesthouse.core import names, wire  # noqa: E402
from guesthouse.core.frames import Frame, FrameDecoder  # noqa: E402
from guesthouse.core.recording import RecordingWriter, metadata  # noqa: E402
from guesthouse.core.records import decode_record  # noqa: E402
from tests.support.frames import session  # noqa: E402


def examples(stream: bytes) -> dict[str, dict[str, object]]:
    """The last record of each type in the stream, as hexadecimal and as its fields."""
    found: dict[str, dict[str, object]] = {}
    for item in FrameDecoder().feed(stream):
        if not isinstance(item, Frame) or item.kind != wire.FRAME_BATCH:
            continue
        for at in range(wire.BATCH_HEADER_SIZE, len(item.payload), wire.RECORD_SIZE):
            data = item.payload[at : at + wire.RECORD_SIZE]
            fields = {
                key: value.hex() if isinstance(value, bytes) else value
                for key, value in asdict(decode_record(data)).items()
            }
            found[names.RECORDS[data[0]]] = {"hex": data.hex(), "fields": fields}
    return dict(sorted(found.items()))


def report(stream: bytes) -> str:
    """The report on a recording of the stream, read in one piece at a fixed time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "golden.rec"
        with RecordingWriter(path, metadata("sim")) as writer:
            writer.write(stream, 1_700_000_000_000_000_000, 0)
        return analyze(path).to_text().replace(str(path), "RECORDING")


def main() -> None:
    golden = ROOT / "tests" / "golden"
    golden.mkdir(exist_ok=True)
    stream = session()
    (golden / "session.bin").write_bytes(stream)
    text = json.dumps(examples(stream), indent=1, ensure_ascii=False) + "\n"
    (golden / "records.json").write_text(text, encoding="utf-8")
    (golden / "report.txt").write_text(report(stream), encoding="utf-8")
    print(f"{golden}: {len(stream)} bytes of session, {len(json.loads(text))} record types")


if __name__ == "__main__":
    main()
