"""Prints where the Pico's firmware is, built first if it has to be: `make firmware`."""

from __future__ import annotations

import sys

from guesthouse.board.firmware import find_or_build_firmware
from guesthouse.core.errors import GuesthouseError


def main() -> int:
    try:
        firmware = find_or_build_firmware(lambda text: print(text, file=sys.stderr, flush=True))
    except GuesthouseError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.code
    print(f"{firmware.path} (MicroPython {firmware.version}, {firmware.origin})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
