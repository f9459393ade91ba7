"""The one root of every error that reaches a user, and the exit codes of the command line."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns to the shell. Scripts rely on these: never renumber."""

    OK = 0
    FAILURE = 1
    USAGE = 2  # argparse's own number for a wrong command line
    NO_BOARD = 3
    BUSY = 4  # another process owns the port
    REFUSED = 5  # the board said no: admission, wrong state, no space
    DAMAGED = 6  # a recording or an image that is not what it should be
    DISK_FULL = 7
    INTERRUPTED = 130  # 128 + SIGINT, after the habit of shells


class GuesthouseError(Exception):
    """Something the user can do something about.

    ``message`` says what went wrong, ``hint`` what to do; ``code`` is the exit code of a command
    that ends with it. The text of the exception is the message alone.
    """

    def __init__(self, message: str, hint: str = "", code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
