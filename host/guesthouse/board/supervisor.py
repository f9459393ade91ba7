"""The process that runs a board: what the hardware around a microcontroller does.

Started by ``board.processes`` as ``python -m guesthouse.board.supervisor FOLDER READY LOCK``. It
makes the serial line, starts the board's program on it (MicroPython's Unix port, or the emulator),
starts it again when it ends, as a reset does, and ends it when it is ended itself. Only the
standard library is imported: a board starts quickly.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from guesthouse.board import pty
from guesthouse.board.simstate import (
    FAILED,
    RESTARTING,
    RUNNING,
    SimBoard,
    forget_state,
    process_identity,
    write_state,
)
from guesthouse.core.errors import GuesthouseError

LAUNCH_FILE = "launch.json"
READY_FILE = "ready"
SUPERVISOR_SAYS = " supervisor: "  # between time and text of our lines in the log

_READY_STEP_S = 0.01
_QUICK_S = 2.0  # a run that ends sooner counts as a failed start
_QUICK_ENDS = 5  # so many in a row and it is not started again
_BACKOFF_S = (0.2, 0.4, 0.8, 1.6, 3.2)
_END_S = 1.0  # from SIGTERM to SIGKILL
_WORDS_SIZE = 4096  # bytes of memory that survive a reset: a page, which the program maps
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run.

    ``program`` is what ``argv`` starts, in words. ``lifeline`` ends the board with the process
    that started it; ``private`` deletes its folder then, should that process be killed.
    ``ready_s``: a program that is silent for so long, yet runs, counts as started. ``lines``: the
    program looks whether a host has the port open, so nobody else may; it makes the file
    READY_FILE in ``root`` when the board has started, because nobody could see it speak.
    """

    name: str
    argv: list[str]
    root: str
    log: str
    version: str
    lifeline: bool
    private: bool
    kind: str = "sim"
    program: str = "MicroPython"
    ready_s: float = 5.0
    lines: bool = False

    def save(self, folder: Path) -> None:
        (folder / LAUNCH_FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> Launch:
        return Launch(**json.loads((folder / LAUNCH_FILE).read_text(encoding="utf-8")))


class Supervisor:
    """Runs one board until it is told to stop."""

    def __init__(self, folder: Path, launch: Launch, ready: int) -> None:
        self._folder = folder
        self._launch = launch
        self._ready = ready
        self._line = pty.open_raw()
        if launch.lines:
            self._line = self._line.without_slave()
        self._stopping = False
        self.orphaned = False  # the process that the board was to end with has ended
        self._die_with_us = _die_with_parent()
        # A signal or the end of our starter makes one of these readable: select() returns.
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._lifeline = [0] if launch.lifeline else []
        # It ends with this process, as a board's own does without power.
        self._words = os.memfd_create("guesthouse-reset-words")
        os.ftruncate(self._words, _WORDS_SIZE)
        self._board = SimBoard(
            name=launch.name,
            path=self._line.path,
            root=Path(launch.root),
            log=Path(launch.log),
            pid=os.getpid(),
            identity=process_identity(os.getpid()),
            status=RUNNING,
            restarts=0,
            last_end="",
            version=launch.version,
            kind=launch.kind,
        )

    def run(self) -> int:
        """Until it is stopped; 1 when the program ended at its first start before it spoke."""
        quick_ends = 0
        reset_cause = "power-on"
        cpu_s = 0.0
        try:
            while not self._told_to_stop():
                began = time.monotonic()
                before = _children_s()
                child = self._start(reset_cause, cpu_s)
                try:
                    if self._ready >= 0 and not self._report_start(child):
                        return 1
                    self._publish(RUNNING)
                    self._wait(child)
                finally:
                    end = _end(child)
                if self._told_to_stop():
                    break
                reset_cause = _reset_cause(child.returncode)
                cpu_s = _children_s() - before
                quick = time.monotonic() - began < _QUICK_S
                quick_ends = quick_ends + 1 if quick else 0
                self._board = replace(self._board, last_end=end)
                if quick_ends >= _QUICK_ENDS:
                    program = self._launch.program
                    _say(f"{program} ended ({end}) {quick_ends} times in a row: given up")
                    self._publish(FAILED)
                    self._pause(None)
                    break
                _say(f"{self._launch.program} ended ({end})")
                self._publish(RESTARTING)
                self._pause(_BACKOFF_S[min(max(quick_ends - 1, 0), len(_BACKOFF_S) - 1)])
                self._board = replace(self._board, restarts=self._board.restarts + 1)
        finally:
            forget_state(self._folder)
            self._line.close()
        return 0

    def _start(self, reset_cause: str, cpu_s: float) -> subprocess.Popen[bytes]:
        """``reset_cause``: why the last run ended, which had used ``cpu_s`` of CPU time."""
        # A host may have left the line cooked, and a reset loses what was not received yet.
        self._line.make_raw()
        self._line.discard_input()
        environment = {
            **os.environ,
            # Nothing of the user's own MicroPython modules: a board has none.
            "MICROPYPATH": ".frozen",
            "GUESTHOUSE_RESET_CAUSE": reset_cause,
            "GUESTHOUSE_RESET_CPU_MS": str(round(cpu_s * 1000)),
            "GUESTHOUSE_RESET_WORDS": str(self._words),
        }
        if self._board.restarts == 0:
            _say(f"runs {shlex.join(self._launch.argv)}")
        _say(f"{self._launch.program} is started ({reset_cause})")
        self._ready_file.unlink(missing_ok=True)
        return subprocess.Popen(
            self._launch.argv,
            stdin=self._line.master,
            stdout=self._line.master,
            cwd=self._launch.root,
            env=environment,
            pass_fds=(self._words,),
            preexec_fn=self._die_with_us,
        )

    def _report_start(self, child: subprocess.Popen[bytes]) -> bool:
        """Tell who started us how the first start went, once the agent has spoken."""
        program, ready_s = self._launch.program, self._launch.ready_s
        give_up = time.monotonic() + ready_s
        while child.poll() is None and not self._has_started() and not self._told_to_stop():
            if time.monotonic() > give_up:
                _say(f"{program} runs and has sent nothing for {ready_s:.0f} s")
                break
            self._sleep(_READY_STEP_S)
        failed = child.poll() is not None and not self._has_started()
        if not failed:
            self._publish(RUNNING)  # before the answer: who gets it looks at once
        answer = {"error": f"{program} ended at once ({_how(child)})"} if failed else {}
        os.write(self._ready, json.dumps(answer).encode())
        os.close(self._ready)
        self._ready = -1
        return not failed

    @property
    def _ready_file(self) -> Path:
        return Path(self._launch.root, READY_FILE)

    def _has_started(self) -> bool:
        return self._ready_file.exists() if self._launch.lines else self._line.waiting() > 0

    def _publish(self, status: str) -> None:
        self._board = replace(self._board, status=status)
        try:
            write_state(self._folder, self._board)
        except OSError as error:  # a full disk must not end the board
            _say(f"the state could not be written: {error}")

    def _wait(self, child: subprocess.Popen[bytes]) -> None:
        while child.poll() is None and not self._told_to_stop():
            self._sleep(None)  # SIGCHLD wakes it

    def _pause(self, seconds: float | None) -> None:
        """The whole time, for ever without one, unless we are told to stop."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._told_to_stop():
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return
            self._sleep(left)

    def _sleep(self, seconds: float | None) -> None:
        """Until any signal comes (an old SIGCHLD too), our starter ends, or the time is over."""
        readable, _, _ = select.select([self._wake, *self._lifeline], [], [], seconds)
        if self._wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 512)
        if 0 in readable and not os.read(0, 512):
            self._stopping = self.orphaned = True
            self._lifeline = []

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _told_to_stop(self) -> bool:
        return self._stopping


def _end(child: subprocess.Popen[bytes]) -> str:
    """End the program if it has not ended by itself; how it ended."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return _how(child)


def _how(child: subprocess.Popen[bytes]) -> str:
    if child.returncode is None:
        return "still running"
    if child.returncode < 0:
        return f"signal {signal.Signals(-child.returncode).name}"
    return f"exit status {child.returncode}"


def _reset_cause(returncode: int) -> str:
    """What a microcontroller would find in its reset register.

    ``watchdog`` is SIGKILL: the last resort against a guest that nothing else stops, unless
    somebody else sent it. The agent can tell, by its words and its CPU time.
    """
    if returncode == -signal.SIGKILL:
        return "watchdog"
    return "soft" if returncode == 0 else "fault"


def _children_s() -> float:
    """CPU time of the children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _die_with_parent() -> Callable[[], None]:
    """What a child runs before exec so that it is killed when we die, however we die.

    Linux ties this to the thread that starts the child; there is only one here.
    """
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return arm


def _say(text: str) -> None:
    """To the log: it is our stderr."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{stamp}{SUPERVISOR_SAYS}{text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """FOLDER, the descriptor to report the start to, and the lock's, held until we end."""
    folder, ready = Path(arguments[0]), int(arguments[1])
    launch = Launch.load(folder)
    if not launch.lifeline and os.fork():
        os._exit(0)  # who started us waits for this; the board goes on without it
    try:
        supervisor = Supervisor(folder, launch, ready)
    except GuesthouseError as error:
        os.write(ready, json.dumps({"error": error.message, "hint": error.hint}).encode())
        return 1
    status = supervisor.run()
    if launch.private and supervisor.orphaned:
        shutil.rmtree(folder, ignore_errors=True)  # nobody else is left to do it
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
