"""The conversation with an agent: its telemetry comes in, commands go out, replies are matched."""

from __future__ import annotations

import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.frames import Console, Frame, Item
from guesthouse.core.model import BoardModel, InstanceModel
from guesthouse.core.session import batch_header
from guesthouse.core.tracker import Tracker, Update
from guesthouse.link.commands import Reply, decode_reply, encode_command, refusal
from guesthouse.link.ports import Candidate
from guesthouse.link.strangers import identify
from guesthouse.link.transport import PortLost, Transport

FIRST_FRAME_S = 6.0  # an agent sends a summary once a second; a collection may hold it up
# A board that is silent may be starting: the first boot of an agent takes a Pico 5 s, 3 of them to
# put its code into flash, and slow flash takes longer.
BOOT_S = 20.0
ATTEMPT_S = 1.0  # after this long without a reply the same line is sent again
_GREETINGS = 3
DAMAGED_MAX = 12  # resends of one command because of a noisy line
REOPEN_EVERY_S = 0.3
SHARE_SPAN_US = 300_000
_PUMP_S = 0.1
_CONSOLE = 2000  # bytes kept: a traceback, and the banner and prompt behind it


class NoAgent(GuesthouseError):
    """Nothing on the port speaks the agent's protocol, or it stopped answering."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint, ExitCode.NO_BOARD)


class Client:
    """One open port with an agent behind it. Not for several threads at once.

    Nothing is sent before a frame of the agent was seen: a board at its REPL, or one that is no
    MicroPython board at all, is never written to. ``tap`` sees every received chunk with the
    host's time in ns before anything is decoded (a recording). With ``reopen`` a port that goes
    away is opened again when it comes back, and the agent is greeted anew. ``usb`` finds what the
    system knows of the port, for the words where there is no agent. Every time-out is one of a
    real board, and multiplied by the port's patience.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        tap: Callable[[bytes, int], None] | None = None,
        reopen: Callable[[], Transport] | None = None,
        usb: Callable[[], Candidate | None] | None = None,
    ) -> None:
        self.tracker = Tracker(BoardModel(), self._see)
        self.trace = False
        self.reconnects = 0
        self.records = 0  # received whole since this client began
        self.heap: int | None = None  # bytes for guests, as HELLO told
        self.patience = transport.patience
        self._usb = usb
        self._transport: Transport | None = transport
        self._name = transport.name
        self._tap = tap
        self._reopen = reopen
        self._reopen_at = 0.0
        self._seen_agent = False
        self._version: int | None = None
        self._console = b""
        self._replies: dict[int, Reply] = {}
        self._damage_reported = False
        # A random first id: the board answers a repeated id from memory, also across clients.
        self._ids = itertools.count(random.randrange(1, 2**31))
        self._updates: deque[Update] = deque(maxlen=20_000)
        self._greeted_boot: int | None = None
        self._greeted = False
        self._greeted_at = 0  # summaries before the announcement that a greeting caused
        self._just_greeted = False  # so that a summary since then is a new one
        self._first_summary_us: int | None = None

    # --- Telemetry ---

    @property
    def model(self) -> BoardModel:
        """The board as told so far."""
        return self.tracker.model

    @property
    def port(self) -> str:
        """The port's name for messages."""
        return self._name

    @property
    def console(self) -> bytes:
        """The newest of what was printed on the port beside frames."""
        return self._console

    @property
    def wire_version(self) -> int | None:
        """The version of the protocol that the agent speaks; None before its first frame."""
        return self._version

    @property
    def connected(self) -> bool:
        """False while the port is gone and being waited for."""
        return self._transport is not None

    def poll(self, timeout: float = _PUMP_S) -> list[Update]:
        """What happened since the last call, waiting ``timeout`` seconds at most for more.

        Raises PortLost unless the client reopens its port.
        """
        if not self._updates:
            self._pump(timeout)
        if self._must_greet():
            self._greet_again()
        updates = list(self._updates)
        self._updates.clear()
        return updates

    def wait_for_agent(self, timeout: float = BOOT_S, *, starting: bool = False) -> None:
        """Return once a frame of the agent was seen. Raises NoAgent after ``timeout`` seconds.

        A board at its prompt has nothing to do, and is given FIRST_FRAME_S at most; unless it was
        just told to start: then the prompt is what it has left.
        """
        began = time.monotonic()
        while not self._seen_agent:
            at_prompt = not starting and self._console.rstrip().endswith(b">>>")
            limit = min(timeout, FIRST_FRAME_S) if at_prompt else timeout * self.patience
            if time.monotonic() - began >= limit:
                raise self._no_agent()
            self._pump(_PUMP_S)
        if self._version is not None and self._version != wire.VERSION:
            raise NoAgent(
                f"the agent on {self._name} speaks version {self._version} of the protocol, "
                f"this guesthouse version {wire.VERSION}",
                "bring both to the same version",
            )

    def hello(self) -> dict[str, Any]:
        """Make the agent announce itself and every guest anew; its own words about itself."""
        self.wait_for_agent()
        self._greeted = True
        self._greeted_boot = self.model.boot_id
        answer = self._greet()
        heap = answer.get("heap")
        self.heap = heap if isinstance(heap, int) else None
        if self.trace:
            self.command(wire.VERB_LEVEL, {"trace": True})
        self._greeted_boot = self.model.boot_id
        return answer

    def set_trace(self, on: bool) -> None:
        """Ask for every slice, or for summaries only; held across reconnects and reboots."""
        self.trace = on
        self.command(wire.VERB_LEVEL, {"trace": on})

    def wait_for_summary(self, count: int = 1, timeout: float = FIRST_FRAME_S) -> BoardModel:
        """The model after ``count`` more complete summaries. Raises NoAgent where none comes.

        One that has come since a greeting counts where nothing was asked in between. A guest whose
        name does not come either, because the line has lost it, stays ``#7``.
        """
        deadline = time.monotonic() + timeout * count * self.patience
        last, seen = self.model.summaries, 0
        if self._just_greeted:
            self._just_greeted = False
            last = self._greeted_at
            if self.model.summaries > last and self.model.announced:
                last, seen = self.model.summaries, 1
        while seen < count:
            if time.monotonic() >= deadline:
                if self.model.summaries != last:
                    break  # names are missing, nothing else
                raise NoAgent(
                    f"the agent on {self._name} sends no summaries",
                    "the line may lose data: look at it with: guesthouse record",
                )
            self._pump(_PUMP_S)
            if self.model.summaries != last and self.model.announced:
                seen += 1
                last = self.model.summaries
        return self.model

    def wait_for_shares(self) -> BoardModel:
        """The model with every guest after `hello`, and with shares over a good part of a second.

        A share needs two summaries that far apart. Greeting the agent makes it send one at once,
        so another greeting spares most of the second until the next.
        """
        model = self.wait_for_summary()
        began_us, began = model.elapsed_us, time.monotonic()
        if self._first_summary_us is not None and self._first_summary_us <= began_us:
            began_us = self._first_summary_us
        while 0 <= model.elapsed_us - began_us < SHARE_SPAN_US:
            while time.monotonic() - began < SHARE_SPAN_US / 1e6:
                self._pump(_PUMP_S)
            self._greet()
            self.wait_for_summary()
        return model

    def instance(self, name: str) -> InstanceModel:
        """The instance called ``name``; a bare image name means its instance 0.

        Raises GuesthouseError that lists the guests there are.
        """
        full = name if "." in name else f"{name}.0"
        deadline = time.monotonic() + FIRST_FRAME_S * self.patience
        while True:
            for instance in self.model.instances.values():
                if instance.name == full:
                    return instance
            told = self.model.announced and self.model.summaries > self._greeted_at
            if told or not self._greeted or time.monotonic() >= deadline:
                break
            self._pump(_PUMP_S)
        names = sorted(one.name for one in self.model.instances.values() if one.name)
        raise GuesthouseError(
            f"there is no guest {name} on {self._name}",
            f"there is {', '.join(names)}"
            if names
            else "it has no guests: guesthouse deploy FOLDER",
            ExitCode.USAGE,
        )

    # --- Commands ---

    def command(
        self,
        verb: int,
        body: bytes | Mapping[str, Any] | None = None,
        timeout: float = 8.0,
    ) -> dict[str, Any]:
        """Send a command and return the result of its reply.

        The same line with the same id is sent again where no reply came or the board could not
        read it; the board does nothing twice. Raises CommandError with the board's hint, NoAgent
        where nothing answers within ``timeout`` seconds, PortLost.
        """
        if self._transport is None:
            raise PortLost(self._name)
        self.wait_for_agent()
        self._just_greeted = False
        command_id = next(self._ids) & 0xFFFFFFFF
        line = encode_command(verb, command_id, {} if body is None else body)
        deadline = time.monotonic() + timeout * self.patience
        attempt = ATTEMPT_S * self.patience
        sent = damaged = 0
        while time.monotonic() < deadline and damaged <= DAMAGED_MAX:
            if self._transport is None:
                raise PortLost(self._name)
            self._damage_reported = False
            self._transport.write(line)
            sent += 1
            reply = self._await_reply(command_id, min(deadline, time.monotonic() + attempt))
            if reply is None:
                damaged += self._damage_reported
                continue
            if reply.status != wire.STATUS_OK:
                raise refusal(reply)
            return dict(reply.body)
        raise NoAgent(
            f"the agent on {self._name} does not answer (asked {sent} times)",
            "the line damages what is sent: use a shorter cable, or another port"
            if damaged > DAMAGED_MAX
            else "it may hang: reset the board, or restart a simulated one (guesthouse sim --stop)",
        )

    def close(self) -> None:
        """Give the port back."""
        if self._transport is not None:
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- Inside ---

    def _greet(self) -> dict[str, Any]:
        """Greet until the announcement that this causes is there.

        It overtakes what was told before, and the reply may overtake it. Where it is lost again and
        again the line is bad, and whoever needs it finds out.
        """
        answer: dict[str, Any] = {}
        for _ in range(_GREETINGS):
            announcements = self.model.announcements
            answer = self.command(wire.VERB_HELLO)
            deadline = time.monotonic() + ATTEMPT_S * self.patience
            # Fewer: the board has started anew meanwhile, and announces itself unasked.
            while self.model.announcements == announcements and time.monotonic() < deadline:
                self._pump(_PUMP_S)
            self._greeted_at = self.model.announced_at
            self._just_greeted = True
            if self.model.announcements != announcements:
                break
        return answer

    def _await_reply(self, command_id: int, deadline: float) -> Reply | None:
        while time.monotonic() < deadline:
            self._pump(min(_PUMP_S, max(0.0, deadline - time.monotonic())))
            reply = self._replies.pop(command_id, None)
            if reply is not None:
                self._replies.clear()
                return reply
            if self._damage_reported:
                return None
        return None

    def _pump(self, timeout: float) -> None:
        """Read once and digest it."""
        if self._transport is None and not self._try_reopen(timeout):
            return
        assert self._transport is not None
        try:
            data = self._transport.read(timeout)
        except PortLost:
            if self._reopen is None:
                raise
            self._transport.close()
            self._transport = None
            self._seen_agent = False
            self._updates.append(f"{self._name} went away; waiting for it to come back\n")
            return
        now_ns = time.time_ns()
        if data and self._tap is not None:
            self._tap(data, now_ns)
        self._updates.extend(self.tracker.feed_bytes(data, now_ns))
        if self._first_summary_us is None and self.model.summaries:
            self._first_summary_us = self.model.elapsed_us

    def _see(self, item: Item) -> None:
        if isinstance(item, Console):
            self._console = (self._console + item.data)[-_CONSOLE:]
        elif isinstance(item, Frame):
            self._seen_agent = True
            self._version = item.version
            self._take_reply(decode_reply(item))
            if item.kind == wire.FRAME_BATCH and (header := batch_header(item.payload)):
                self.records += header.count

    def _take_reply(self, reply: Reply | None) -> None:
        if reply is None:
            return
        if reply.status == wire.STATUS_DAMAGED:
            self._damage_reported = True  # its id cannot be trusted; only one command is out
        else:
            self._replies[reply.id] = reply

    def _must_greet(self) -> bool:
        """Whether a port that came back, or a board that started anew, has to be asked again."""
        return (
            self._greeted
            and self._seen_agent
            and self.connected
            and (self._greeted_boot is None or self.model.boot_id != self._greeted_boot)
        )

    def _greet_again(self) -> None:
        try:
            self.hello()
        except (PortLost, NoAgent):
            if self._reopen is None:
                raise
            self._greeted_boot = None  # it went away again: next time

    def _try_reopen(self, timeout: float) -> bool:
        assert self._reopen is not None
        now = time.monotonic()
        if now < self._reopen_at:
            time.sleep(min(timeout, self._reopen_at - now))
            return False
        self._reopen_at = now + REOPEN_EVERY_S
        try:
            self._transport = self._reopen()
        except GuesthouseError:
            return False
        self.reconnects += 1
        self._console = b""
        self._greeted_boot = None
        self._updates.append(f"{self._name} is back\n")
        return True

    def _no_agent(self) -> NoAgent:
        usb = self._usb() if self._usb is not None else None
        there = identify(self._console, usb, self.tracker.damaged)
        return NoAgent(f"no agent answers on {self._name}; {there.what}", there.do)
