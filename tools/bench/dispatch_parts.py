"""Where the time of a slice goes on a Pico: every instruction of an emulated one, by who called it.

The emulated Pico boots with the guests of ``guesthouse bench dispatch`` and is then stepped
instruction by instruction, with its calls kept as a tree. So the parts add up to the whole, and
nothing is measured by being called alone. Functions of the firmware are named by its ELF file, as a
build of the same firmware leaves it behind; the agent's by the names in the board's own memory::

    python tools/bench/dispatch_parts.py firmware.elf [--ms 20] [--root slices] [--least 0.5]
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from guesthouse.bench.dispatch import GUESTS, image
from guesthouse.board import picosim
from guesthouse.board.emulator import Pico
from guesthouse.board.firmware import find_or_build_firmware
from guesthouse.core.tracker import Tracker
from guesthouse.install.filesystem import flash_image
from guesthouse.install.guests import files_of
from guesthouse.install.package import build_package
from guesthouse.install.target import target_of_family

Path_ = tuple[str, ...]

_RAM = range(0x20000000, 0x20042000)
_FLASH = range(0x10000000, 0x10200000)
_CYCLES_PER_US = 125
_NS_PER_CYCLE = 8.0
_TICK = 16  # instructions between two looks at the emulator's alarms
_BOOT_S = 60.0  # of the board's time
_LONGEST = 3000  # bytes of the agent's longest function
_DEEPEST = 60  # calls that are told apart
_PY_EXEC = "mp_execute_bytecode"


class Symbols:
    """The functions of an ELF file for 32-bit ARM, by address."""

    def __init__(self, file: Path) -> None:
        data = file.read_bytes()
        (sections,) = struct.unpack_from("<I", data, 32)
        size, count = struct.unpack_from("<HH", data, 46)
        headers = [struct.unpack_from("<10I", data, sections + i * size) for i in range(count)]
        table = next(header for header in headers if header[1] == 2)
        names = headers[table[6]][4]
        found = []
        self.by_name: dict[str, int] = {}
        for at in range(table[4], table[4] + table[5], 16):
            name_at, value, _, info, _, _ = struct.unpack_from("<IIIBBH", data, at)
            name = data[names + name_at : data.index(0, names + name_at)].decode()
            if name and info & 15 < 3:
                self.by_name[name] = value & ~1
            if info & 15 == 2:
                found.append((value & ~1, name))
        found.sort()
        self._addresses = [address for address, _ in found]
        self._names = [name for _, name in found]

    def name(self, address: int) -> str:
        return self._names[bisect_right(self._addresses, address) - 1]


class Board:
    """An emulated Pico with guests that runs in this process."""

    def __init__(self, symbols: Symbols) -> None:
        firmware = find_or_build_firmware(print)
        target = target_of_family(firmware.family)
        assert target is not None
        images = [image(n, GUESTS, 1, 50, autostart=True) for n in range(GUESTS)]
        files = [*build_package(target).everything(), *files_of(images)]
        with tempfile.TemporaryDirectory() as folder:
            flash = Path(folder) / "flash.bin"
            flash.write_bytes(flash_image(firmware, files, picosim.FLASH_SIZE))
            self.tracker = Tracker()
            self.pico = Pico(flash, self._received)
        self.firmware_end = max(each.address + len(each.data) for each in firmware.image().segments)
        self.pico.taking = True
        self.pico.set_attached(True)
        self.symbols = symbols
        self._mcu: Any = self.pico._mcu
        self._names: dict[int, str] = {}

    def _received(self, data: bytes) -> None:
        self.tracker.feed_bytes(bytes(data), int(self.pico.emulated_s * 1e9))

    def run(self, until: Callable[[], bool]) -> None:
        while not until():
            self.pico.run_for_a_moment()
            if self.pico.emulated_s > _BOOT_S:
                sys.exit("the guests do not run")

    def run_to_summary(self) -> None:
        before = self.tracker.model.elapsed_us
        self.run(lambda: self.tracker.model.elapsed_us != before)

    def all_run(self) -> bool:
        running = [one for one in self.tracker.model.instances.values() if one.slices]
        return len(running) == GUESTS

    @property
    def slices(self) -> int:
        return sum(one.slices for one in self.tracker.model.instances.values())

    def word(self, address: int) -> int:
        return int(type(self._mcu).read_uint32(self._mcu, address))

    def find_names(self) -> None:
        """The agent's functions: pairs of a name and a function in the board's dictionaries."""
        kinds = {
            address: name
            for name, address in self.symbols.by_name.items()
            if name.startswith("mp_type_fun_") or name == "mp_type_gen_wrap"
        }
        texts = dict(self._texts())
        for area in (_RAM, range(self.firmware_end, 0x100A0000)):
            for at in range(area.start, area.stop - 4, 4):
                key, value = self.word(at), self.word(at + 4)
                if key & 7 == 2 and key >> 3 in texts and value & 3 == 0:
                    kind = kinds.get(self.word(value)) if value in _RAM or value in _FLASH else None
                    if kind:
                        code = self.word(value + (8 if kind.endswith("asm") else 12))
                        self._names[code] = texts[key >> 3]
        self._codes = sorted(self._names)

    def _texts(self) -> Iterator[tuple[int, str]]:
        """The interned names: pools that point to the pools before them."""
        state = self.symbols.by_name["mp_state_ctx"]
        pool = next(
            word
            for word in map(self.word, range(state, state + 600, 4))
            if word in _RAM and word & 15 == 0 and self._is_pool(word)
        )
        while pool:
            first, used = self.word(pool + 4) & 0x7FFFFFFF, self.word(pool + 12)
            for i in range(used):
                yield first + i, self._text(self.word(pool + 24 + 4 * i))
            pool = self.word(pool)

    def _is_pool(self, address: int) -> bool:
        room, used, hashes = (self.word(address + offset) for offset in (8, 12, 16))
        return room < 5000 and used <= room and hashes == address + 24 + 4 * room

    def _text(self, at: int) -> str:
        text = bytearray()
        while byte := type(self._mcu).read_uint8(self._mcu, at):
            text.append(byte)
            at += 1
        return text.decode()

    def function(self, address: int) -> str:
        """The name of the function that this instruction belongs to."""
        if address < self.firmware_end or address < self.symbols.by_name["__bss_start__"]:
            return self.symbols.name(address)
        i = bisect_right(self._codes, address) - 1
        near = i >= 0 and address - self._codes[i] < _LONGEST
        return f"agent:{self._names[self._codes[i]]}" if near else "?"

    def bytecode(self, state: int) -> str:
        """The name of the Python function that the VM is about to run."""
        return "py:" + self._names.get(self.word(self.word(state) + 12), "guest")

    def profile(self, ms: float) -> tuple[Counter[Path_], Counter[Path_]]:
        """Cycles and calls by the chain of calls, over so many ms of the board's time."""
        core, clock = self._mcu.core, self.pico._clock
        registers, step = core.registers, core.execute_instruction
        vm = self.symbols.by_name[_PY_EXEC]
        cycles: Counter[Path_] = Counter()
        calls: Counter[Path_] = Counter()
        called = []  # not empty: the last instruction was a call
        core.bl_taken = lambda core, blx: called.append(True)
        stack: list[tuple[int, int, Path_]] = []  # return address, stack pointer, caller
        path: Path_ = ("",)
        names: dict[int, str] = {}
        total = ticked = 0
        steps = 0
        while total < ms * 1000 * _CYCLES_PER_US:
            if core.waiting:
                clock.tick(clock.nanos_to_next_alarm)
                continue
            pc, sp = registers[15], registers[13]
            while stack and (sp > stack[-1][1] or (sp == stack[-1][1] and pc == stack[-1][0])):
                path = stack.pop()[2]
            took = step()
            cycles[path] += took
            total += took
            if called:
                called.clear()
                to = registers[15]
                stack.append((registers[14] & ~1, sp, path))
                if len(path) < _DEEPEST:
                    if to == vm:
                        path = (*path, self.bytecode(registers[0]))
                    else:
                        name = names.get(to) or names.setdefault(to, self.function(to))
                        path = (*path, name)
                calls[path] += 1
            steps += 1
            if steps % _TICK == 0:
                clock.tick((total - ticked) * _NS_PER_CYCLE)
                ticked = total
        return cycles, calls


def _print_tree(
    cycles: Counter[Path_], calls: Counter[Path_], root: str, least: float, slices: float
) -> None:
    """What ``root`` spends, with all that it calls; us for each slice."""
    whole: Counter[Path_] = Counter()
    own: Counter[Path_] = Counter()
    count: Counter[Path_] = Counter()
    for path, n in cycles.items():
        below = _below(path, root)
        if below:
            own[below] += n
            for i in range(1, len(below) + 1):
                whole[below[:i]] += n
    for path, n in calls.items():
        count[_below(path, root)] += n
    inside = defaultdict(list)
    for path in whole:
        inside[path[:-1]].append(path)

    def show(path: Path_) -> None:
        us = whole[path] / _CYCLES_PER_US / slices
        if us < least:
            return
        alone = own[path] / _CYCLES_PER_US / slices
        name = "  " * (len(path) - 1) + path[-1]
        print(f"{name:58} {us:8.2f} {alone:8.2f} {count[path] / slices:8.2f}")
        for each in sorted(inside[path], key=lambda each: -whole[each]):
            show(each)

    print(f"{'us of a slice':58} {'all':>8} {'own':>8} {'calls':>8}")
    for path in inside[()]:
        show(path)


def _below(path: Path_, root: str) -> Path_:
    for i, name in enumerate(path):
        if name.endswith(":" + root) or name == root:
            return path[i:]
    return ()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("elf", type=Path, help="of the firmware that is run")
    parser.add_argument("--ms", type=float, default=20, help="of the board's time (20)")
    parser.add_argument("--root", default="slices", help="the function to begin with (slices)")
    parser.add_argument("--least", type=float, default=0.5, help="us that are shown (0.5)")
    options = parser.parse_args()
    board = Board(Symbols(options.elf))
    board.run(board.all_run)
    board.run_to_summary()
    slices, elapsed = board.slices, board.tracker.model.elapsed_us
    board.run_to_summary()
    us = (board.tracker.model.elapsed_us - elapsed) / (board.slices - slices)
    print(f"{us:.1f} us for a slice, from one summary to the next")
    board.find_names()
    cycles, calls = board.profile(options.ms)
    sent = sum(n for path, n in calls.items() if path[-1] == "gen_instance_send")
    _print_tree(cycles, calls, options.root, options.least, sent or 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
