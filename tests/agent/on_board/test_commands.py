# Commands over the line: damage, repeats, deploys that are cut, and what each verb answers.

import binascii
import hashlib
import json
import os
import struct
import sys

import house
from board import SPEC, Board
from house import commands, modules, recovery, wire
from house.image import BadImage, Store, exists

_MAIN = """\
import asyncio
async def main():
    while True:
        await asyncio.sleep_ms(5)
"""


class Host:
    def __init__(self):
        self.board = Board()
        self.kernel = self.board.kernel
        self.ident = 0

    # Sends one command line; returns (status, answer) of the newest reply.
    def send(self, verb, body=None, ident=None, spoil=None):
        if ident is None:
            self.ident += 1
            ident = self.ident
        if not isinstance(body, bytes):
            body = json.dumps(body or {}).encode()
        data = struct.pack(wire.COMMAND_HEADER, verb, 0, ident) + body
        data += struct.pack("<I", binascii.crc32(data))
        line = bytearray(b"\x16" + binascii.b2a_base64(data))
        assert len(line) <= wire.COMMAND_LINE_MAX + 2, len(line)
        assert not [c for c in line if c in (3, 4)]
        if spoil is not None:
            line[spoil] ^= 1
        replies = self.kernel.telemetry.replies
        del replies[:]
        for c in line:
            self.kernel.link.byte(c)
        if not replies:
            return None
        head = struct.unpack_from(wire.REPLY_HEADER, replies[-1])
        return head[1], json.loads(replies[-1][wire.REPLY_HEADER_SIZE :])

    # Deploys a folder of {path: bytes}; returns the reply to the commit.
    def deploy(self, name, files, digest="ab" * 32, upto=None):
        size = sum(len(d) for d in files.values())
        assert self.send(wire.VERB_BEGIN, {"image": name, "digest": digest, "size": size})[0] == 0
        sent = 0
        for path in files:
            data = files[path]
            sha = str(binascii.hexlify(hashlib.sha256(data).digest()), "ascii")
            assert self.send(wire.VERB_FILE, {"path": path, "size": len(data), "sha": sha})[0] == 0
            for at in range(0, len(data), wire.PUT_CHUNK):
                if upto is not None and sent >= upto:
                    return None
                chunk = data[at : at + wire.PUT_CHUNK]
                status, answer = self.send(wire.VERB_PUT, struct.pack("<I", at) + chunk)
                assert status == 0, answer
                sent += len(chunk)
        return self.send(wire.VERB_COMMIT, {"start": True})


def _files(**keys):
    spec = dict(SPEC)
    spec["name"] = "g"
    spec.update(keys)
    return {"main.py": _MAIN.encode(), "guest.json": json.dumps(spec).encode()}


def test_a_guest_is_deployed_started_and_removed():
    host = Host()
    status, answer = host.deploy("g", _files())
    assert status == 0 and answer["instance"] == "g.0", answer
    host.board.run(2000, lambda: host.kernel.lifecycle.find("g").slices > 3)
    assert host.kernel.lifecycle.find("g").slices > 3
    assert host.send(wire.VERB_REMOVE, {"g": "g"}) == (0, {"removed": ["g.0"]})
    assert host.kernel.lifecycle.find("g") is None
    assert os.listdir(host.board.root + "/images") == []
    host.board.close()


# A load lets nothing through, for as long as it may take, and a line takes only so much at once.
def test_a_start_is_answered_before_the_guest_loads():
    host = Host()
    files = _files(load_max_us=300000)
    files["main.py"] = b"while True: pass\n"
    sent = bytearray()

    def write(buf, n):
        n = min(n, 256)
        sent.extend(bytes(buf[:n]))
        return n

    host.board.port.serial_write = write
    find = host.kernel.lifecycle.find
    for verb in wire.VERB_COMMIT, wire.VERB_START, wire.VERB_RESTART:
        host.kernel.summary.announce_all()
        answered = bytes(sent).count(b'"instance": "g.0"')
        if verb == wire.VERB_COMMIT:
            assert host.deploy("g", files)[0] == wire.STATUS_OK
        else:
            assert host.send(verb, {"g": "g"})[0] == wire.STATUS_OK
        assert host.board.end(find("g"))[1] == wire.REASON_LOAD_OVERRUN
        assert bytes(sent).count(b'"instance": "g.0"') == answered + 1, verb
    host.board.close()


def test_a_damaged_command_is_asked_for_again():
    host = Host()
    for spoil in (1, 9, 15):
        status, answer = host.send(wire.VERB_PING, {}, spoil=spoil)
        assert status == wire.STATUS_DAMAGED, answer
    assert host.kernel.link.damaged == 3
    assert host.send(wire.VERB_PING)[0] == 0
    host.board.close()


def test_a_command_that_comes_twice_is_done_once():
    host = Host()
    host.deploy("g", _files())
    host.board.run(20)
    first = host.send(wire.VERB_RESTART, {"g": "g"}, ident=900)
    host.board.run(50)
    again = host.send(wire.VERB_RESTART, {"g": "g"}, ident=900)
    host.board.run(50)
    assert first == again
    assert host.kernel.lifecycle.find("g").restarts == 1
    host.board.close()


def test_a_line_without_end_is_dropped():
    host = Host()
    host.kernel.link.byte(0x16)
    for _ in range(2000):
        host.kernel.link.byte(65)
    assert host.kernel.link.damaged == 1
    assert host.send(wire.VERB_PING)[0] == 0
    host.board.close()


def test_a_ping_measures_the_line_and_tells_the_room_left():
    host = Host()
    status, answer = host.send(wire.VERB_PING)
    assert status == 0 and list(answer) == ["s"], answer
    before = host.send(wire.VERB_PING, {"flash": True})[1]["flash_free"]
    info = os.statvfs(host.board.root)
    assert 0 < before <= info[0] * info[2], (before, info)
    line = {"pad": "p" * 200, "fill": 700}
    assert host.send(wire.VERB_PING, line)[1]["fill"] == "x" * 700
    assert host.send(wire.VERB_PING, {"fill": 10**9, "flash": True})[0] == 0
    assert len(host.kernel.telemetry.replies[-1]) <= wire.MAX_PAYLOAD
    assert host.send(wire.VERB_PING, {"fill": "much"})[0] == wire.STATUS_BAD_VALUE
    host.board.close()


def test_ctrl_c_stops_the_agent():
    host = Host()
    host.kernel.link.byte(3)
    assert host.kernel.running is False
    host.board.close()


def test_unknown_verbs_and_bodies_are_answered_in_words():
    host = Host()
    assert host.send(99)[0] == wire.STATUS_UNKNOWN_VERB
    assert host.send(wire.VERB_START, b"{nonsense")[0] == wire.STATUS_BAD_VALUE
    assert host.send(wire.VERB_START, b"[1]")[0] == wire.STATUS_BAD_VALUE
    assert host.send(wire.VERB_START, {})[0] == wire.STATUS_BAD_VALUE
    status, answer = host.send(wire.VERB_START, {"g": "nobody"})
    assert status == wire.STATUS_NO_SUCH_GUEST and "nobody" in answer["error"]
    host.board.close()


def test_a_deploy_cut_anywhere_leaves_the_old_version():
    host = Host()
    host.deploy("g", _files(version="old"))
    size = sum(len(d) for d in _files().values())
    for upto in range(0, size - wire.PUT_CHUNK, 60):
        host.deploy("g", _files(version="new"), digest="cd" * 32, upto=upto)
        image = host.board.commands.store.load("g", 1)
        assert image.spec["version"] == "old"
        assert host.kernel.lifecycle.alive(host.kernel.lifecycle.find("g"))
    host.deploy("g", _files(version="new"), digest="cd" * 32)
    assert host.board.commands.store.load("g", 1).spec["version"] == "new"
    assert len(os.listdir(host.board.root + "/images")) == 2
    host.board.close()


def test_the_same_version_can_be_deployed_again():
    host = Host()
    for _ in range(4):
        status, answer = host.deploy("g", _files())
        assert status == 0, answer
        host.board.run(20)
        assert exists(host.kernel.lifecycle.find("g").image.folder + "/main.py")
    host.board.close()


def test_a_file_that_arrives_damaged_is_refused():
    host = Host()
    host.send(wire.VERB_BEGIN, {"image": "g", "digest": "ab" * 32, "size": 3})
    host.send(wire.VERB_FILE, {"path": "main.py", "size": 3, "sha": "00" * 32})
    status, answer = host.send(wire.VERB_PUT, struct.pack("<I", 0) + b"abc")
    assert status == wire.STATUS_HASH_MISMATCH and "main.py" in answer["error"]
    host.board.close()


def test_chunks_may_repeat_and_may_not_skip():
    host = Host()
    sha = str(binascii.hexlify(hashlib.sha256(b"abcdef").digest()), "ascii")
    host.send(wire.VERB_BEGIN, {"image": "g", "digest": "ab" * 32, "size": 6})
    host.send(wire.VERB_FILE, {"path": "main.py", "size": 6, "sha": sha})
    assert host.send(wire.VERB_PUT, struct.pack("<I", 0) + b"abc") == (0, {"got": 3})
    assert host.send(wire.VERB_PUT, struct.pack("<I", 0) + b"abc") == (0, {"got": 3})
    assert host.send(wire.VERB_PUT, struct.pack("<I", 4) + b"ef")[0] == wire.STATUS_WRONG_STATE
    assert host.send(wire.VERB_COMMIT)[0] == wire.STATUS_WRONG_STATE
    assert host.send(wire.VERB_PUT, struct.pack("<I", 3) + b"def") == (0, {"got": 6})
    host.board.close()


def test_names_do_not_leave_the_store():
    host = Host()
    for name in ("../x", "a/b", "A", "a.b"):
        body = {"image": name, "digest": "ab" * 32, "size": 6}
        assert host.send(wire.VERB_BEGIN, body)[0] == wire.STATUS_BAD_VALUE, name
    body = {"image": "g", "digest": "../" * 20, "size": 6}
    assert host.send(wire.VERB_BEGIN, body)[0] == wire.STATUS_BAD_VALUE
    host.board.close()


# What a guest prints and raises may need six bytes of JSON for each of its own.
def test_answers_fit_whatever_a_guest_says():
    host = Host()
    guest = host.board.guest(
        "g",
        """\
import asyncio
async def main():
    for i in range(30):
        print(chr(1 + i % 3) * 190)
        print('"' * 190)
    await asyncio.sleep_ms(1)
    raise ValueError(chr(2) * 300)
""",
    )
    host.board.end(guest)
    for verb in (wire.VERB_WHY, wire.VERB_LOGS):
        status, answer = host.send(verb, {"g": "g"})
        lines = answer["logs"] if verb == wire.VERB_WHY else answer["lines"]
        assert status == 0 and lines, answer
        assert len(host.kernel.telemetry.replies[-1]) <= wire.MAX_PAYLOAD
    host.board.close()


def test_paths_do_not_leave_the_image():
    host = Host()
    host.send(wire.VERB_BEGIN, {"image": "g", "digest": "ab" * 32, "size": 6})
    for path in ("/etc/x", "../x", "a/../../x", ""):
        assert (
            host.send(wire.VERB_FILE, {"path": path, "size": 1, "sha": ""})[0]
            == wire.STATUS_BAD_VALUE
        ), path
    host.board.close()


def test_what_does_not_fit_is_refused_and_the_old_version_stays():
    host = Host()
    host.deploy("g", _files(version="old"))
    status, answer = host.deploy("g", _files(version="new", mem_max=10**9), digest="cd" * 32)
    assert status == wire.STATUS_REFUSED and "memory.max" in answer["error"], answer
    assert host.board.commands.store.load("g", 1).spec["version"] == "old"
    assert host.kernel.lifecycle.alive(host.kernel.lifecycle.find("g"))
    host.board.close()


def test_an_image_without_its_manifest_is_refused():
    host = Host()
    status, answer = host.deploy("g", {"main.py": b"x"})
    assert status == wire.STATUS_BAD_VALUE and "guest.json" in answer["error"], answer
    host.board.close()


def test_quotas_of_a_live_guest_can_be_changed():
    host = Host()
    host.deploy("g", _files())
    host.board.run(20)
    assert host.send(wire.VERB_SET, {"g": "g", "cpu_max_us": 5000, "mem_max": 40000})[0] == 0
    guest = host.kernel.lifecycle.find("g")
    assert guest.limit.max_us == 5000 and guest.mem_max == 40000
    for bad in ({"cpu_max_us": -1}, {"weight": None}, {"name": "x"}, {"mem_max": "1"}):
        bad["g"] = "g"
        assert host.send(wire.VERB_SET, bad)[0] == wire.STATUS_BAD_VALUE, bad
    assert host.send(wire.VERB_SET, {"g": "g", "mem_max": 10**9})[0] == wire.STATUS_REFUSED
    assert host.send(wire.VERB_SET, {"g": "g", "cpu_max_us": None})[0] == 0
    assert guest.limit.max_us < 0
    host.board.close()


_RESERVED = {"cpu_min_us": 1000, "cpu_min_period_us": 10000, "slice_max_us": 1000}


def test_a_neighbour_that_would_break_a_reservation_is_refused():
    host = Host()
    assert host.deploy("control", _files(name="control", **_RESERVED))[0] == 0
    status, answer = host.deploy("logger", _files(name="logger", slice_max_us=50000))
    assert status == wire.STATUS_REFUSED, answer
    assert "control could miss its cpu.min of 1ms/10ms" in answer["error"], answer
    assert host.kernel.lifecycle.find("logger") is None
    fits = answer["hint"].split("a slice_max of ")[1].split("ms")[0]
    us = int(float(fits) * 1000)
    assert host.deploy("logger", _files(name="logger", slice_max_us=us))[0] == 0
    # what is there goes on as it was, whatever is refused
    status, answer = host.send(wire.VERB_SET, {"g": "logger", "slice_max_us": us + 100})
    assert status == wire.STATUS_REFUSED and "control" in answer["error"], answer
    logger = host.kernel.lifecycle.find("logger")
    assert logger.slice_max_us == us and host.kernel.lifecycle.alive(logger)
    assert host.send(wire.VERB_SET, {"g": "logger", "slice_max_us": us - 100})[0] == 0
    host.board.close()


def test_a_guest_can_be_deployed_anew_on_a_board_that_is_too_full_by_now():
    host = Host()
    assert host.deploy("control", _files(name="control", **_RESERVED))[0] == 0
    host.board.commands.board["section_us"] = 50000
    assert host.deploy("control", _files(version="2", **_RESERVED), digest="cd" * 32)[0] == 0
    assert host.deploy("other", _files())[0] == wire.STATUS_REFUSED
    host.board.close()


def test_the_oversubscription_can_be_set_and_is_kept():
    host = Host()
    whole = _files(cpu_max_us=100000, mem_max=1000)
    for name in ("a", "b"):
        assert host.deploy(name, whole)[0] == 0
    status, answer = host.deploy("c", whole)
    assert status == wire.STATUS_REFUSED and "200.0 %" in answer["error"], answer
    for bad in ({"oversubscription_cpu_ppm": 0}, {"oversubscription_ram_ppm": 2**31}, {"heap": 1}):
        bad["g"] = "board"
        assert host.send(wire.VERB_SET, bad)[0] == wire.STATUS_BAD_VALUE, bad
    status, answer = host.send(wire.VERB_SET, {"g": "board", "oversubscription_cpu_ppm": 3000000})
    assert status == 0 and answer["oversubscription_cpu_ppm"] == 3000000, answer
    assert host.kernel.summary.board_due
    assert host.deploy("c", whole)[0] == 0
    # the next boot begins with it
    again = commands.Commands(host.kernel, Store(host.board.root), {})
    assert again.board["oversubscription_cpu_ppm"] == 3000000
    assert again.board["oversubscription_ram_ppm"] == 2000000
    # lowering it stops nobody
    assert host.send(wire.VERB_SET, {"g": "board", "oversubscription_cpu_ppm": 1000000})[0] == 0
    assert host.kernel.lifecycle.alive(host.kernel.lifecycle.find("c"))
    # what power or a hand has spoilt is as if it were not there
    with open(host.board.root + "/guesthouse.json", "w") as f:
        f.write('{"oversubscription_cpu_ppm": "')
    assert commands.Commands(host.kernel, Store(host.board.root), {}).board[
        "oversubscription_cpu_ppm"
    ] == 2000000
    host.board.close()


def test_what_a_board_says_of_its_capacity_is_what_admission_counts_with():
    host = Host()
    host.board.commands.board["oversubscription_ram_ppm"] = 1500000
    told = []
    host.kernel.telemetry.put = lambda ring, kind, *values: told.append((kind, values))
    host.kernel.summary.tell_board()
    values = next(values for kind, values in told if kind == wire.RECORD_BOOT)
    assert values[-3:] == (900000, 2000000, 1500000), values
    host.board.close()


def test_a_board_that_is_full_says_so():
    host = Host()
    for i in range(host.kernel.capacity):
        host.board.guest("g%d" % i, _MAIN)
    files = _files()
    status, answer = host.deploy("more", files)
    assert status == wire.STATUS_REFUSED and str(host.kernel.capacity) in answer["error"], answer
    host.board.close()


def test_why_fits_a_reply_and_tells_the_last_fault():
    host = Host()
    source = (
        "import asyncio\nasync def main():\n"
        + "    print('x' * 190)\n" * 20
        + "    await asyncio.sleep_ms(1)\n    1 // 0\n"
    )
    guest = host.board.guest("g", source)
    host.board.end(guest)
    status, answer = host.send(wire.VERB_WHY, {"g": "g"})
    assert status == 0 and answer["reason"] == "exception" and "ZeroDivisionError" in answer["what"]
    assert answer["where"].startswith("g/main.py:24 in main"), answer
    assert answer["logs"]
    assert len(host.kernel.telemetry.replies[-1]) <= wire.MAX_PAYLOAD
    host.board.close()


# One that fits no counter would end the agent, at each start again where it is in a guest.json.
def test_values_out_of_range_are_refused_and_never_come_off_the_flash():
    host = Host()
    assert host.deploy("g", _files())[0] == 0
    instance = host.kernel.lifecycle.find("g")
    spec = instance.spec
    values = (
        ("weight", 2**40),
        ("weight", "much"),
        ("cpu_period_us", 500),
        ("cpu_period_us", 1500),
        ("cpu_max_us", 2**31),
        ("slice_max_us", 2**31),
        ("slice_max_us", None),
        ("mem_high", 2**40),
        ("mem_max", 0),
    )
    for key, value in values:
        status, answer = host.send(wire.VERB_SET, {"g": "g", key: value})
        assert status == wire.STATUS_BAD_VALUE and key in answer["error"], (key, value, answer)
        assert instance.spec is spec
    values += (("restart", "perhaps"), ("criticality", -1), ("backoff_max_s", 2**20))
    for key, value in values:
        status, answer = host.deploy("g", _files(**{key: value}), digest="cd" * 32)
        assert status == wire.STATUS_BAD_VALUE and key in answer["error"], (key, value, answer)
    assert host.kernel.lifecycle.find("g") is instance
    for damaged in (b"[]", b"3", _files(weight=2**40)["guest.json"]):
        with open(instance.image.folder + "/guest.json", "wb") as f:
            f.write(damaged)
        try:
            host.board.commands.install("g")
        except BadImage as error:
            assert "guest.json" in str(error)
        else:
            raise AssertionError(damaged)
    host.board.close()


# The longest of everything: the log's lines get what is left.
def test_why_fits_a_reply_with_all_that_it_can_tell():
    host = Host()
    quotas = {
        "cpu_max_us": 9_999_999,
        "cpu_period_us": 10_000_000,
        "cpu_min_us": 5_000,
        "cpu_min_period_us": 10_000_000,
        "mem_min": 1_000_000,
        "mem_high": 2_000_000,
        "mem_max": 3_000_000,
        "on_overrun": "suspend",
    }
    guest = host.board.guest("a" * 12, _MAIN, **quotas)
    host.board.run(50)
    for _ in range(5):
        guest.log.add(b"x" * 190)
    guest.last_reason = wire.REASON_TOO_MANY_FAILURES
    guest.last_where = guest.last_what = "w" * 230
    guest.last_s = guest.overruns = guest.kills = guest.failures = guest.restarts = 9_999_999
    guest.reservation.last = (9_999_999, 9_999_999, wire.BLACKOUT_COLLECT, guest.id)
    guest.reservation.breaches = 9_999_999
    status, answer = host.send(wire.VERB_WHY, {"g": guest.name})
    assert status == 0, answer
    for key in quotas:
        assert answer["limits"][key] == quotas[key], key
    assert answer["breach"]["by"] == guest.name
    assert len(host.kernel.telemetry.replies[-1]) <= wire.MAX_PAYLOAD
    host.board.close()


def test_logs_come_in_pages_without_gap():
    host = Host()
    guest = host.board.guest(
        "g",
        """\
import asyncio
async def main():
    for i in range(40): print('line %d %s' % (i, 'x' * 30))
    await asyncio.sleep_ms(1)
""",
    )
    host.board.end(guest)
    at = 0
    seen = []
    while True:
        status, answer = host.send(wire.VERB_LOGS, {"g": "g", "from": at})
        assert len(host.kernel.telemetry.replies[-1]) <= wire.MAX_PAYLOAD
        if not answer["lines"]:
            break
        seen += answer["lines"]
        at = answer["next"]
    assert [line.split()[1] for line in seen] == [str(i) for i in range(40 - len(seen), 40)], seen
    assert len(seen) > 20
    host.board.close()


def test_installed_guests_start_at_boot():
    host = Host()
    host.deploy("g", _files())
    host.deploy("h", _files(autostart=False))
    kernel = host.kernel
    for instance in list(kernel.instances):
        kernel.lifecycle.remove(instance)
    recovery.begin(kernel, host.board.commands, recovery.Past(host.board.port))
    states = sorted((i.name, i.state) for i in kernel.instances)
    assert states[0][0] == "g.0" and states[0][1] != wire.STATE_STOPPED
    assert states[1] == ("h.0", wire.STATE_STOPPED)
    host.board.close()


def test_what_is_needed_seldom_is_not_kept_in_memory():
    host = Host()
    host.deploy("g", _files())
    assert host.send(wire.VERB_SET, {"g": "g", "weight": 50})[0] == 0
    assert host.deploy("g", _files(mem_max=10**9))[0] == wire.STATUS_REFUSED
    assert host.send(wire.VERB_ABORT)[0] == 0
    for name in ("heapmap", "scan_viper", "deploy", "admission"):
        assert "house." + name not in sys.modules, name
        assert not hasattr(house, name), name
    host.board.close()


def test_a_chunk_without_a_deploy_is_refused_in_words():
    host = Host()
    chunk = struct.pack("<I", 0) + b"x"
    assert host.send(wire.VERB_PUT, chunk)[0] == wire.STATUS_WRONG_STATE
    host.deploy("g", _files())
    status, answer = host.send(wire.VERB_PUT, chunk)
    assert status == wire.STATUS_WRONG_STATE and "no deploy" in answer["error"], answer
    assert host.send(wire.VERB_COMMIT, {})[0] == wire.STATUS_WRONG_STATE
    host.board.close()


# The count of modules is how a slice that imported something is told from one that did not.
def test_a_module_of_the_agents_that_went_hides_none_of_a_guests():
    class Guest:
        pass

    guest = Guest()
    guest.image = Guest()
    guest.image.folder = "/nowhere/g-1"
    guest.modules = {}
    helper = Guest()
    helper.__file__ = "/nowhere/g-1/helper.py"
    from house import admission

    modules.enter(guest)
    modules.leave(guest)
    modules.drop(admission)
    modules.enter(guest)
    sys.modules["helper"] = helper
    modules.leave(guest)
    assert "helper" not in sys.modules and guest.modules["helper"] is helper
