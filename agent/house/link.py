# The link: command lines in, replies and telemetry out.

import binascii
import json
import struct

from micropython import const

from . import wire
from .clock import TICKS_MASK
from .wire import AGENT

_CTRL_C = const(3)
_NEWLINE = const(10)
_PIECE = const(64)  # bytes that are read at once


class Link:
    def __init__(self, kernel, commands):
        self.kernel = kernel
        self.handle = commands.handle  # (verb, body) -> (status, dict)
        self.buf = bytearray(_PIECE)
        self.line = bytearray(wire.COMMAND_LINE_MAX)
        self.used = -1  # bytes of the line under way, -1 outside of one
        self.commands = 0
        self.damaged = 0
        self.discarded = 0
        self.last_id = -1  # a command that comes again gets the reply it got
        self.last_reply = None

    # Takes what has arrived, and carries out the commands that are whole.
    def receive(self):
        while True:
            n = self.kernel.port.serial_read(self.buf)
            if n <= 0:
                return
            for i in range(n):
                self.byte(self.buf[i])

    def byte(self, c):
        if c == _CTRL_C:
            self.kernel.running = False
        elif c == wire.COMMAND_START:
            self.used = 0
        elif self.used < 0:
            self.discarded += 1
        elif c == _NEWLINE:
            n = self.used
            self.used = -1
            self.command(n)
        elif self.used == len(self.line):
            self.used = -1
            self.damaged += 1
        else:
            self.line[self.used] = c
            self.used += 1

    # A line of n bytes is whole.
    def command(self, n):
        telemetry = self.kernel.telemetry
        try:
            data = binascii.a2b_base64(bytes(memoryview(self.line)[:n]))
            end = len(data) - 4
            if end < wire.COMMAND_HEADER_SIZE or struct.unpack_from("<I", data, end)[
                0
            ] != binascii.crc32(data[:end]):
                raise ValueError
        except ValueError:
            self.damaged += 1
            telemetry.reply(
                0,
                wire.STATUS_DAMAGED,
                b'{"error":"the command was damaged on the line","hint":"send it again"}',
            )
            return
        self.commands += 1
        verb, _, ident = struct.unpack_from(wire.COMMAND_HEADER, data)
        if ident == self.last_id:
            telemetry.reply(*self.last_reply)
            return
        body = data[wire.COMMAND_HEADER_SIZE : end]
        if verb != wire.VERB_PUT:
            try:
                body = json.loads(body) if body else {}
            except ValueError:
                body = None
        if body is None or (verb != wire.VERB_PUT and not isinstance(body, dict)):
            status, answer = (
                wire.STATUS_BAD_VALUE,
                {"error": "the command's body is not a JSON object", "hint": ""},
            )
        else:
            begin = self.kernel.port.ticks_us()
            try:
                status, answer = self.handle(verb, body)
            except Exception as error:  # one command's fault is that command's answer
                self.kernel.lifecycle.fault(error)
                status = wire.STATUS_AGENT_ERROR
                answer = {
                    "error": "the agent failed: %r" % error,
                    "hint": "this is a bug of the agent; the guests go on",
                }
            self.blackout(verb, self.kernel.port.ticks_us() - begin & TICKS_MASK)
        said = json.dumps(answer).encode()
        if len(said) > wire.MAX_PAYLOAD - wire.REPLY_HEADER_SIZE:
            status = wire.STATUS_AGENT_ERROR
            said = b'{"error":"the answer is too long for a reply","hint":"a bug of the agent"}'
        self.last_id = ident
        self.last_reply = (ident, status, said)
        telemetry.reply(*self.last_reply)

    # A command took `us`. One of a deploy writes files.
    def blackout(self, verb, us):
        kernel = self.kernel
        if us > kernel.port.SECTION_US:
            writes = verb == wire.VERB_REMOVE or wire.VERB_BEGIN <= verb <= wire.VERB_ABORT
            kind = wire.BLACKOUT_FLASH if writes else wire.BLACKOUT_COMMAND
            kernel.schedule.blackout(kind, us, AGENT)

    # Offers the line what there is to send; the time is the telemetry's cost.
    def send(self):
        kernel = self.kernel
        telemetry = kernel.telemetry
        billing = kernel.billing
        billing.work()
        first = telemetry.next
        telemetry.pump()
        records = telemetry.next - first & TICKS_MASK
        telemetry.cost.add(billing.line(records, kernel.instances))
