"""The board's side of the wire, in Python, behind a real pseudo-terminal.

It speaks wire.py exactly and can lose or damage what it sends and receives on purpose. It is no
model of the agent: quotas, slices and images are only remembered.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import select
import struct
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from guesthouse.core import wire
from guesthouse.core.frames import encode_frame
from guesthouse.link.commands import decode_command

HEAP = 1 << 20


@dataclass
class FakeGuest:
    """One guest as the fake board remembers it."""

    id: int
    name: str
    state: int = wire.STATE_RUNNING
    reason: int = wire.REASON_NONE
    logs: list[str] = field(default_factory=list)
    cpu_us: int = 0
    config: dict[str, Any] = field(default_factory=dict)


@dataclass
class Upload:
    """A transfer under way."""

    image: str
    digest: str
    size: int
    files: dict[str, bytearray] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    current: str = ""


class Refusal(Exception):
    """A command answered with an error."""

    def __init__(self, status: int, error: str, hint: str = "do something else") -> None:
        super().__init__(error)
        self.status, self.error, self.hint = status, error, hint


class FakeAgent:
    """Runs in a thread on the master end; ``path`` is what a client opens.

    ``lose_reply(n)`` and ``damage_reply(n)`` decide about the n-th reply sent (from 0),
    ``damage_command(n)`` about the n-th line received, ``corrupt_put(n)`` about the n-th piece.
    """

    def __init__(self, summary_every: float = 0.05, path: str | None = None) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self.summary_every = summary_every
        self.talking = threading.Event()
        self.talking.set()
        self.guests: dict[str, FakeGuest] = {}
        self.images: dict[str, Upload] = {}
        self.upload: Upload | None = None
        self.journal: list[dict[str, object]] = []
        self.received: list[tuple[int, int, bytes]] = []  # (verb, id, body), damaged ones apart
        self.raw = b""
        self.executed: list[int] = []  # verbs that took effect, repeats by id apart
        self.boot_id = 0x1234
        self.unclean_boots = 0
        self.overtaken = 0  # summaries that were told before an announcement and arrive with it due
        self.trace = False
        self.lose_reply: Callable[[int], bool] = lambda n: False
        self.damage_reply: Callable[[int], bool] = lambda n: False
        self.damage_command: Callable[[int], bool] = lambda n: False
        self.corrupt_put: Callable[[int], bool] = lambda n: False
        self.mechanisms = {"preemption": "ok", "frame-table": "ok"}
        self.dropped = [0, 0, 0, 0]  # records, by class
        self.flash_free: int | None = 1 << 20  # None: an agent that knows ping without a body
        self.refuse: dict[int, Refusal] = {}
        self.promises = {
            "oversubscription_cpu_ppm": 2_000_000, "oversubscription_ram_ppm": 1_000_000,
        }  # fmt: skip
        self.sequence = 0
        self._replies = self._lines = self._puts = 0
        self._memory: dict[int, bytes] = {}
        self._started = time.monotonic()
        self._announce = True
        self._queue: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    # --- For tests ---

    def __enter__(self) -> FakeAgent:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)
        for fd in (self.master, self._slave):
            with contextlib.suppress(OSError):
                os.close(fd)

    def add(self, name: str, **config: Any) -> FakeGuest:
        """A guest that is there already."""
        guest = FakeGuest(wire.FIRST_GUEST + len(self.guests), f"{name}.0", config=config)
        self.guests[guest.name] = guest
        self._announce = True
        return guest

    def say(self, text: bytes) -> None:
        """Console text, beside the frames."""
        self._queue.append(text)

    def reboot(self) -> None:
        """A new boot id, numbers from 0, the clock from 0, trace off."""
        self.boot_id += 1
        self.sequence = 0
        self.trace = False
        self._started = time.monotonic()
        self._announce = True

    def log(self, guest: FakeGuest, text: str) -> None:
        """A line the guest prints: into its log, and as records."""
        guest.logs.append(text)
        self._queue.append(self._batch(self._text(guest.id, wire.TEXT_LOG, text)))

    def change(self, guest: FakeGuest, state: int, reason: int, *numbers: int) -> None:
        """A change of state, as a record."""
        old, guest.state, guest.reason = guest.state, state, reason
        five = (*numbers, 0, 0, 0, 0, 0)[:5]
        self._queue.append(
            self._batch(
                [
                    self._record(
                        wire.RECORD_STATE, guest.id, wire.BODY_STATE, old, state, reason, 0, *five
                    )
                ]
            )
        )

    # --- The thread ---

    def _run(self) -> None:
        line = b""
        due = time.monotonic()
        while not self._stop.is_set():
            ready, _, _ = select.select([self.master], [], [], 0.005)
            if ready:
                try:
                    data = os.read(self.master, 4096)
                except OSError:
                    return
                self.raw += data
                line += data
                while b"\n" in line:
                    one, line = line.split(b"\n", 1)
                    self._take(one + b"\n")
            if not self.talking.is_set():
                continue
            for data in self._queue[:]:
                self._send(data)
            self._queue.clear()
            if time.monotonic() >= due:
                due = time.monotonic() + self.summary_every
                self._send_summary()

    def _send(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.master, data) :]
            except OSError:
                return

    def _take(self, line: bytes) -> None:
        number, self._lines = self._lines, self._lines + 1
        if self.damage_command(number):
            line = line[:9] + bytes([line[9] ^ 1]) + line[10:]
        try:
            verb, command_id, body = decode_command(line)
        except ValueError:
            self._reply(0, wire.STATUS_DAMAGED, {"error": "damaged", "hint": "send it again"})
            return
        self.received.append((verb, command_id, body))
        known = self._memory.get(command_id)
        if known is not None:
            self._send_reply(known)
            return
        try:
            if verb in self.refuse:
                raise self.refuse[verb]
            result: dict[str, Any] = self._do(verb, body)
            status = wire.STATUS_OK
            self.executed.append(verb)
        except Refusal as refusal:
            status = refusal.status
            result = {"error": refusal.error, "hint": refusal.hint}
        self._reply(command_id, status, result)

    def _reply(self, command_id: int, status: int, result: dict[str, Any]) -> None:
        payload = struct.pack(wire.REPLY_HEADER, command_id, status, 0)
        payload += json.dumps(result).encode()
        if status != wire.STATUS_DAMAGED:
            self._memory[command_id] = payload
        self._send_reply(payload)

    def _send_reply(self, payload: bytes) -> None:
        number, self._replies = self._replies, self._replies + 1
        if self.lose_reply(number):
            return
        frame = encode_frame(wire.FRAME_REPLY, payload)
        if self.damage_reply(number):
            frame = frame[:-5] + bytes([frame[-5] ^ 0x40]) + frame[-4:]
        self._send(frame)

    # --- Commands ---

    def _do(self, verb: int, body: bytes) -> dict[str, Any]:
        if verb == wire.VERB_PUT:
            return self._put(body)
        given: dict[str, Any] = json.loads(body)
        name = given.get("g", "")
        if verb == wire.VERB_HELLO:
            self._announce = True
            return {
                "wire": wire.VERSION, "agent": "0.1", "boot": self.boot_id, "board": "fake",
                "firmware": "fake 1.0", "heap": HEAP, "max_guests": 16, "root": "/fake",
            }  # fmt: skip
        if verb == wire.VERB_LEVEL:
            self.trace = given["trace"]
            return {}
        if verb in (wire.VERB_START, wire.VERB_STOP, wire.VERB_KILL, wire.VERB_RESTART):
            state, reason = {
                wire.VERB_START: (wire.STATE_READY, wire.REASON_START),
                wire.VERB_STOP: (wire.STATE_STOPPED, wire.REASON_STOP),
                wire.VERB_KILL: (wire.STATE_KILLED, wire.REASON_KILL),
                wire.VERB_RESTART: (wire.STATE_READY, wire.REASON_RESTART),
            }[verb]
            guest = self._guest(name)
            self.change(guest, state, reason)
            return {"state": "stopped" if state == wire.STATE_STOPPED else "ready"}
        if verb == wire.VERB_SET and name == "board":
            self.promises.update({k: v for k, v in given.items() if k != "g"})
            self._announce = True
            return dict(self.promises)
        if verb == wire.VERB_SET:
            self._guest(name).config.update({k: v for k, v in given.items() if k != "g"})
            self._announce = True
            return {}
        if verb == wire.VERB_WHY:
            guest = self._guest(name)
            return {
                "name": guest.name, "state": "killed", "reason": "overrun",
                "where": "main.py:4 in spin < main.py:9 in main", "what": "",
                "at_s": 3, "limits": {"slice_max_us": 5000}, "used": {"cpu_us": 12},
                "logs": guest.logs[-3:],
            }  # fmt: skip
        if verb == wire.VERB_JOURNAL:
            page = self.journal[given["from"] : given["from"] + 6]
            return {"events": page, "next": 0, "of": len(self.journal), "damaged": False}
        if verb == wire.VERB_LOGS:
            logs = self._guest(name).logs
            first = given["from"]
            return {"next": min(len(logs), first + 3), "first": 0, "lines": logs[first : first + 3]}
        if verb == wire.VERB_REMOVE:
            if name not in self.images and f"{name}.0" not in self.guests:
                raise Refusal(wire.STATUS_NO_SUCH_GUEST, f"there is no image {name}", "deploy it")
            self.images.pop(name, None)
            self.guests.pop(f"{name}.0", None)
            return {}
        return self._do_upload(verb, given)

    def _do_upload(self, verb: int, given: dict[str, Any]) -> dict[str, Any]:
        if verb == wire.VERB_BEGIN:
            self.upload = Upload(given["image"], given["digest"], given["size"])
        elif verb == wire.VERB_FILE:
            assert self.upload is not None
            self.upload.current = given["path"]
            self.upload.files[given["path"]] = bytearray(given["size"])
            self.upload.hashes[given["path"]] = given["sha"]
        elif verb == wire.VERB_ABORT:
            self.upload = None
        elif verb == wire.VERB_COMMIT:
            return self._commit(given["start"])
        elif verb == wire.VERB_PING:
            answer: dict[str, Any] = {}
            if self.flash_free is not None and "flash" in given:
                answer["flash_free"] = self.flash_free
            if self.flash_free is not None and "fill" in given:
                answer["fill"] = "x" * given["fill"]
            return answer
        else:
            raise Refusal(wire.STATUS_UNKNOWN_VERB, f"no verb {verb}", "update the agent")
        return {}

    def _put(self, body: bytes) -> dict[str, Any]:
        assert self.upload is not None
        number, self._puts = self._puts, self._puts + 1
        (offset,) = struct.unpack_from("<I", body)
        data = bytearray(body[4:])
        if self.corrupt_put(number):
            data[0] ^= 1
        file = self.upload.files[self.upload.current]
        assert offset + len(data) <= len(file)
        file[offset : offset + len(data)] = data
        return {}

    def _commit(self, start: bool) -> dict[str, Any]:
        upload = self.upload
        if upload is None:
            raise Refusal(wire.STATUS_WRONG_STATE, "nothing was begun", "begin")
        for path, data in upload.files.items():
            if hashlib.sha256(data).hexdigest() != upload.hashes[path]:
                self.upload = None
                raise Refusal(wire.STATUS_HASH_MISMATCH, f"{path} is damaged", "send it again")
        assert sum(map(len, upload.files.values())) == upload.size
        self.images[upload.image] = upload
        self.upload = None
        guest = self.guests.get(f"{upload.image}.0") or self.add(upload.image)
        guest.state = wire.STATE_READY if start else wire.STATE_STOPPED
        self._announce = True
        return {"instance": guest.name, "state": "ready" if start else "stopped"}

    def _guest(self, name: str) -> FakeGuest:
        if name not in self.guests:
            raise Refusal(wire.STATUS_NO_SUCH_GUEST, f"there is no guest {name}", "look at ps")
        return self.guests[name]

    # --- Telemetry ---

    def _now(self) -> tuple[int, int]:
        us = int((time.monotonic() - self._started) * 1e6)
        return us // 1_000_000, us % 1_000_000

    def _record(self, kind: int, instance: int, body: str, *values: Any) -> bytes:
        second, us = self._now()
        head = struct.pack(wire.RECORD_HEADER, kind, instance, second & 0xFFFF, us)
        return head + struct.pack(body, *values)

    def _batch(self, records: list[bytes]) -> bytes:
        """The frames of some records, numbered where the host's count stands."""
        frames = b""
        size = (wire.MAX_PAYLOAD - wire.BATCH_HEADER_SIZE) // wire.RECORD_SIZE
        for at in range(0, len(records), size):
            part = records[at : at + size]
            second, us = self._now()
            payload = struct.pack(
                wire.BATCH_HEADER, self.boot_id, self.sequence, second, us, len(part),
                wire.BATCH_TRACE if self.trace else 0, *self.dropped,
            )  # fmt: skip
            self.sequence += len(part)
            frames += encode_frame(wire.FRAME_BATCH, payload + b"".join(part))
        return frames

    def _text(self, instance: int, kind: int, text: str) -> list[bytes]:
        data = text.encode()
        size = wire.TEXT_SIZE
        pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        return [
            self._record(
                wire.RECORD_TEXT, instance, wire.BODY_TEXT, kind, index, len(pieces), 0, piece
            )
            for index, piece in enumerate(pieces)
        ]

    def _send_summary(self) -> None:
        records: list[bytes] = []
        if self._announce and self.overtaken:
            self.overtaken -= 1
        elif self._announce:
            self._announce = False
            records.append(
                self._record(
                    wire.RECORD_BOOT, wire.BOARD, wire.BODY_BOOT,
                    wire.VERSION, wire.RESET_WATCHDOG, self.unclean_boots, 16,
                    HEAP, 250_000, 900_000, *self.promises.values(),
                )
            )  # fmt: skip
            records += self._text(wire.BOARD, wire.TEXT_BOARD, "fake")
            records += self._text(wire.BOARD, wire.TEXT_FIRMWARE, "fake 1.0")
            for name, verdict in self.mechanisms.items():
                records += self._text(wire.BOARD, wire.TEXT_MECHANISM, f"{name}: {verdict}")
            for guest in self.guests.values():
                records += self._describe(guest)
        for guest in self.guests.values():
            guest.cpu_us += 1000
            records.append(
                self._record(
                    wire.RECORD_CPU, guest.id, wire.BODY_CPU,
                    0, guest.cpu_us, 0, 0, 1, 0, guest.state, guest.reason,
                )
            )  # fmt: skip
            records.append(
                self._record(
                    wire.RECORD_MEM, guest.id, wire.BODY_MEM,
                    2048, 4096, guest.config.get("mem_max") or wire.NONE, 0, 0, 0, 0,
                )
            )  # fmt: skip
            records.append(
                self._record(wire.RECORD_COUNTS, guest.id, wire.BODY_COUNTS, 0, 0, 0, 0, 0, 900)
            )
        second, us = self._now()
        records += [
            self._record(
                wire.RECORD_HEAP, wire.BOARD, wire.BODY_HEAP, HEAP, 50_000, 9_000, 3, 800, 900_000
            ),
            self._record(wire.RECORD_TIME, wire.BOARD, wire.BODY_TIME, 0, 900, second, us, 0, 0),
            self._record(
                wire.RECORD_TIME_MORE, wire.BOARD, wire.BODY_TIME_MORE, second, us, 0, 9, 0, 1
            ),
            self._record(wire.RECORD_LINK, wire.BOARD, wire.BODY_LINK, 0, 0, 0, 0, 0, 0),
        ]
        self._send(self._batch(records))

    def _describe(self, guest: FakeGuest) -> list[bytes]:
        config = guest.config
        limit = config.get("cpu_max_us")
        return [
            self._record(
                wire.RECORD_INSTANCE, guest.id, wire.BODY_INSTANCE,
                guest.id, 0, guest.state, wire.INSTANCE_AUTOSTART, config.get("criticality", 5),
                wire.RESTART_ON_FAILURE, 0, 0, b"\1\2\3\4", guest.name.split(".")[0].encode(),
            ),
            self._record(
                wire.RECORD_CPU_QUOTA, guest.id, wire.BODY_CPU_QUOTA,
                wire.NONE if limit is None else limit, config.get("cpu_period_us", 100_000),
                wire.NONE, wire.NONE, config.get("slice_max_us", 5000),
                config.get("weight", 100), 0,
            ),
            self._record(
                wire.RECORD_MEM_QUOTA, guest.id, wire.BODY_MEM_QUOTA,
                wire.NONE, wire.NONE, config.get("mem_max") or wire.NONE, wire.NONE, wire.NONE,
                1, 60,
            ),
        ]  # fmt: skip


def encode_line(verb: int, command_id: int, body: bytes) -> bytes:
    """A command line written out by hand from wire.py's words, to check the client's own."""
    import binascii

    raw = struct.pack("<BBI", verb, 0, command_id) + body
    raw += struct.pack("<I", binascii.crc32(raw))
    return b"\x16" + base64.b64encode(raw) + b"\n"
