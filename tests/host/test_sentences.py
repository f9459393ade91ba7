"""Everything that happens to a guest has a sentence, with its numbers and its place."""

from __future__ import annotations

import pytest

from guesthouse.core import wire
from guesthouse.core.model import BoardModel, Event, InstanceModel
from guesthouse.core.names import REASONS
from guesthouse.core.sentences import file_line, place, routine, sentence
from guesthouse.core.view.line import plain
from guesthouse.core.view.story import Story, name_of, told

SPIN = "main.py:7 in spin < main.py:12 in main"


def event(
    new: str,
    reason: str,
    *numbers: int,
    where: str = "",
    what: str = "",
    at_ms: int = 0,
    name: str = "hog.0",
    instance: int = 2,
) -> Event:
    a, b, c, d, e = (*numbers, 0, 0, 0, 0, 0)[:5]
    return Event(at_ms * 1000, instance, name, "running", new, reason, where, what, (a, b, c, d, e))


# One for every reason of the wire; the test below sees to it that none is forgotten.
SENTENCES = {
    "none": (event("waiting", "none"), "hog.0 waiting"),
    "deployed": (event("loading", "deployed"), "hog.0 deployed"),
    "boot": (event("loading", "boot"), "hog.0 starts with the board"),
    "start": (event("loading", "start"), "hog.0 started on request"),
    "loaded": (event("ready", "loaded", 12_400), "hog.0 loaded in 12.4 ms"),
    "returned": (event("exited", "returned"), "hog.0 exited: main() returned"),
    "exit": (
        event("exited", "exit", where="main.py:3 in main"),
        "hog.0 exited: it raised SystemExit at main.py:3 in main",
    ),
    "overrun": (
        event("killed", "overrun", 5_200, 5_000, 1, where=SPIN),
        "hog.0 killed: overran its 5 ms slice (5.2 ms) at main.py:7 in spin",
    ),
    "oom": (
        event("killed", "oom", 33_894, 32_768, where="main.py:5 in hoard"),
        "hog.0 killed: memory 33.1 KiB of 32 KiB at main.py:5 in hoard",
    ),
    "exception": (
        event("failed", "exception", where="main.py:9 in poll", what="ValueError: no"),
        "hog.0 failed: ValueError: no at main.py:9 in poll",
    ),
    "throttled": (
        event("throttled", "throttled", 310, 69_400),
        "hog.0 throttled: 310 us over its budget, runs again in 69.4 ms",
    ),
    "refilled": (event("ready", "refilled"), "hog.0 has a new budget"),
    "stop": (event("stopped", "stop"), "hog.0 stopped on request"),
    "kill": (event("killed", "kill"), "hog.0 killed on request"),
    "restart": (event("loading", "restart"), "hog.0 restarted on request"),
    "backoff": (
        event("backoff", "backoff", 2_000, 3),
        "hog.0 next start in 2 s (3 failures in a row)",
    ),
    "retry": (event("loading", "retry"), "hog.0 starts again"),
    "too-many-failures": (
        event("quarantined", "too-many-failures", 0, 8),
        "hog.0 quarantined: 8 failures in a row",
    ),
    "syntax": (
        event("failed", "syntax", where="main.py:4", what="SyntaxError: invalid syntax"),
        "hog.0 failed: does not compile: SyntaxError: invalid syntax at main.py:4",
    ),
    "no-main": (
        event("failed", "no-main"),
        "hog.0 failed: main.py has neither main() nor a call of asyncio.run()",
    ),
    "load-overrun": (
        event("killed", "load-overrun", 520_000, 500_000, where="a.py:1"),
        "hog.0 killed: 520 ms on the CPU while it loaded, allowed 500 ms at a.py:1",
    ),
    "deadlock": (
        event("failed", "deadlock"),
        "hog.0 failed: none of its tasks can ever run again",
    ),
    "removed": (event("stopped", "removed"), "hog.0 removed"),
    "refused": (
        event("stopped", "refused", what="the sum of min is above 90 %"),
        "hog.0 refused: the sum of min is above 90 %",
    ),
    "escalated": (
        event("quarantined", "escalated", where=SPIN),
        "hog.0 quarantined by the last resort: no raise could stop it at main.py:7 in spin",
    ),
    "agent-fault": (
        event("killed", "agent-fault", what="IndexError", where="ring.py:80 in put"),
        "hog.0 killed: a fault inside the agent: IndexError at ring.py:80 in put",
    ),
    "heap-full": (
        event("killed", "heap-full", 40_960),
        "hog.0 killed: the heap is short, it held 40 KiB",
    ),
    "bad-image": (
        event("failed", "bad-image", what="main.py is missing"),
        "hog.0 failed: its image is damaged: main.py is missing",
    ),
    "woken": (event("ready", "woken"), "hog.0 woken"),
    "yielded": (event("ready", "yielded"), "hog.0 yielded"),
    "safe-mode": (
        event("stopped", "safe-mode"),
        "hog.0 not started: the board came up without its guests",
    ),
    "evicted": (
        event("killed", "evicted", 20_480, 4_096, what="the heap was short of 900 bytes"),
        "hog.0 killed: evicted to make room, 20 KiB are free again, it was 4 KiB above its "
        "memory.min: the heap was short of 900 bytes",
    ),
    "strays": (
        event("quarantined", "strays", 20_480, 16_384),
        "hog.0 quarantined: its runs have left 20 KiB behind that nothing frees, 16 KiB are "
        "allowed: it makes ever new names",
    ),
    "unclean-boot": (
        event("", "unclean-boot", what="the board was reset while guests ran"),
        "hog.0 started again: the board was reset while guests ran",
    ),
}


def test_no_reason_of_the_wire_is_without_a_sentence() -> None:
    """A reason added to the wire fails here until somebody finds words for it."""
    assert set(SENTENCES) == set(REASONS.values())


@pytest.mark.parametrize("reason", SENTENCES)
def test_the_sentence_says_what_where_and_how_much(reason: str) -> None:
    """One reason, its numbers, its place."""
    made, expected = SENTENCES[reason]
    assert sentence(made) == expected


@pytest.mark.parametrize("reason", SENTENCES)
def test_a_sentence_needs_neither_numbers_nor_place(reason: str) -> None:
    """Unset numbers and empty texts leave words out, and never show as figures."""
    unset = (wire.NONE, wire.SATURATED, wire.NONE, wire.NONE, wire.NONE)
    for numbers in ((0, 0, 0, 0, 0), unset):
        told_ = sentence(event(SENTENCES[reason][0].new, reason, *numbers))
        assert "4294967" not in told_ and "71 min" not in told_ and "4 GiB" not in told_
        assert not told_.endswith((" ", ":", "at", "of"))


def test_a_suspended_guest_is_not_called_killed() -> None:
    """on_overrun = suspend."""
    assert "suspended: overran" in sentence(event("suspended", "overrun", 5_200, 5_000))


def test_a_stubborn_guest_shows_how_often_it_was_told() -> None:
    """The third raise ended it."""
    assert sentence(event("killed", "overrun", 9_000, 5_000, 3)).endswith("ended by raise 3")


def test_an_unknown_reason_is_told_as_it_is() -> None:
    """A newer agent's reason is not hidden and does not raise."""
    assert sentence(event("killed", "reason-77", where=SPIN)) == (
        "hog.0 killed: reason-77 at main.py:7 in spin"
    )


def test_the_boards_own_boot_is_no_guests() -> None:
    """Instance 0 boots, it is not started with itself."""
    assert sentence(event("booted", "boot", name="board", instance=0)) == "board booted"


def test_the_place_is_the_innermost_frame() -> None:
    """And its file:line alone where there is little room."""
    assert place(SPIN) == "main.py:7 in spin"
    assert file_line(SPIN) == "main.py:7"
    assert place("") == file_line("") == ""


def test_matters_of_course_are_told_apart() -> None:
    """A log of events leaves them out."""
    assert routine(event("ready", "refilled")) and not routine(event("killed", "overrun"))


def test_a_kill_and_its_backoff_are_one_line() -> None:
    """The example of the design: killed ...; next start in 2 s."""
    story = Story()
    story.tell(event("killed", "oom", 33_894, 32_768, where="main.py:5 in hoard", name="leaker.0"))
    story.tell(event("backoff", "backoff", 2_000, 1, name="leaker.0"))
    (entry,) = story.entries
    assert f"{entry.name} {entry.words()}" == (
        "leaker.0 killed: memory 33.1 KiB of 32 KiB at main.py:5 in hoard; next start in 2 s"
    )
    assert entry.state == "killed"
    assert plain(told(entry)).replace("\N{NO-BREAK SPACE}", " ") == entry.words()


def test_throttling_in_every_period_is_one_line_with_a_count() -> None:
    """Two hogs that are throttled in turn make two lines, not hundreds."""
    story = Story()
    for period in range(100):
        for instance, name in ((2, "hog.0"), (3, "pig.0")):
            story.tell(
                event("throttled", "throttled", name=name, instance=instance, at_ms=period * 100)
            )
            story.tell(event("ready", "refilled", name=name, instance=instance))
    assert [(entry.name, entry.times) for entry in story.entries] == [
        ("hog.0", 100),
        ("pig.0", 100),
    ]


def test_the_story_is_bounded_and_in_order() -> None:
    """Whatever comes, it keeps the newest in the order in which they came."""
    story = Story(50)
    for number in range(1_000):
        story.tell(event("killed", "overrun", 5_200, 5_000, at_ms=number, instance=2 + number % 7))
    times = [entry.time_us for entry in story.entries]
    assert len(times) == 50 and times == sorted(times) and times[-1] == 999_000


def test_two_crashes_are_two_lines() -> None:
    """Only what says the same about one period is counted together."""
    story = Story()
    for _ in range(2):
        story.tell(event("failed", "exception", where=SPIN, what="ValueError"))
        story.tell(event("backoff", "backoff", 1_000, 1))
        story.tell(event("loading", "retry"))
        story.tell(event("ready", "loaded", 3_000))
    assert [entry.words().split(":")[0] for entry in story.entries] == [
        "failed",
        "starts again; loaded in 3 ms",
    ] * 2


def test_an_event_from_before_the_guest_was_announced_gets_its_name_later() -> None:
    """Attaching sends nothing: until the board announces itself, instances have numbers only."""
    story, model = Story(), BoardModel()
    entry = story.tell(event("killed", "kill", name="#2"))
    assert entry is not None and name_of(entry, model) == "#2"
    model.instances[2] = InstanceModel(2, "hog.0")
    assert name_of(entry, model) == "hog.0"
    later = story.tell(event("killed", "kill", name="old.0"))
    assert later is not None and name_of(later, model) == "old.0"


@pytest.mark.parametrize(
    ("what", "length_us", "count", "told_as"),
    [
        ("collect by hog.0", 17_000, 2, "a collection of 17 ms for hog.0 (2 deadlines so far)"),
        ("flash", 46_000, 1, "a write to the flash of 46 ms"),
        ("", 0, 1, "no blackout"),
    ],
)
def test_a_missed_reservation_says_by_how_much_and_what_was_in_the_way(
    what: str, length_us: int, count: int, told_as: str
) -> None:
    missed = event("ready", "breach", 1_600, length_us, count, 1_000, 10_000, what=what)
    expected = f"hog.0 missed its reservation of 1 ms in 10 ms by 1.6 ms: {told_as}"
    assert sentence(missed) == expected


def test_who_is_suspended_or_late_again_and_again_is_one_line() -> None:
    """They come twice a second; the others' lines must stay on the screen."""
    story = Story()
    for number in (1, 2, 3):
        story.tell(event("suspended", "overrun", 5_200, 5_000, instance=2))
        story.tell(event("ready", "breach", 600, 0, number, 1_000, 10_000, instance=3))
    long, loop = story.entries
    assert long.words().endswith("3 times since") and long.words().startswith("suspended:")
    assert "(3 deadlines so far) · 3 times since" in loop.words()
    story.tell(event("killed", "overrun", 5_200, 5_000, instance=2))
    assert len(story.entries) == 3
