"""Write the golden fixtures under tests/golden: bytes that both sides of the wire must agree on.

Run it when the protocol grows (``python tools/make_golden.py``), and look at the difference: a
line that changes in records.json is a change of what boards in the field already send.

    session.bin    a session with every record type, console text and a reply
    records.json   every distinct record type of it once: its bytes, and the values they mean
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "host")]

from guesthouse.core import names, wire  # noqa: E402
from guesthouse.core.frames import Frame, FrameDecoder  # noqa: E402
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


def main() -> None:
    golden = ROOT / "tests" / "golden"
    golden.mkdir(exist_ok=True)
    stream = session()
    (golden / "session.bin").write_bytes(stream)
    text = json.dumps(examples(stream), indent=1, ensure_ascii=False) + "\n"
    (golden / "records.json").write_text(text, encoding="utf-8")
    print(f"{golden}: {len(stream)} bytes of session, {len(json.loads(text))} record types")


if __name__ == "__main__":
    main()
