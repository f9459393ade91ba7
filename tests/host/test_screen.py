"""The board as text: top, ps, why."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.cli.screen import render_ps, render_top, render_why, to_ascii
from guesthouse.core.model import BoardModel, Event, InstanceModel
from guesthouse.core.view import header
from guesthouse.core.view.figures import (
    Times,
    clock,
    short_bytes,
    short_count,
    short_share,
    short_us,
)
from guesthouse.core.view.history import History
from guesthouse.core.view.line import Line, Mood, cells, clean, cut, fit, plain, width, wrap
from guesthouse.core.view.meter import meter, sparkline

SPIN = "main.py:7 in spin < main.py:12 in main"


def board(count: int = 3) -> BoardModel:
    model = BoardModel(
        "bench",
        "MicroPython 1.25.0 unix",
        "0.1.0",
        heap_bytes=1 << 20,
        heap_used=400 << 10,
        elapsed_us=100_000_000,
        agent_us=2_000_000,
        guests_us=50_000_000,
        idle_us=47_000_000,
        steal_us=1_000_000,
        summaries=100,
        missed=3,
        dropped={"trace": 4, "text": 1},
    )
    for id in range(2, count + 2):
        guest = InstanceModel(id, f"guest_{id}.0", "guest", state="running", cpu_share=0.1)
        guest.cpu_max_us, guest.cpu_min_us, guest.cpu_min_period_us = 20_000, 1_000, 10_000
        guest.mem_live, guest.mem_max = 12_345, 32_768
        model.instances[id] = guest
    if count:
        hog = model.instances[2]
        hog.state, hog.last_fault, hog.last_where = "killed", "overrun", SPIN
        hog.kills = 7
        numbers = (5_200, 5_000, 1, 0, 0)
        model.events = [
            Event(99_000_000, 2, hog.name, "running", "killed", "overrun", SPIN, "", numbers)
        ]
    return model


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40), (200, 50), (40, 12), (20, 5)])
@pytest.mark.parametrize("guests", [0, 3, 14, 60])
def test_top_fits_the_screen_it_was_given(columns: int, rows: int, guests: int) -> None:
    """No line is wider, no screen higher: a terminal neither wraps nor scrolls."""
    text = render_top(board(guests), columns, rows)
    lines = text.splitlines()
    assert len(lines) <= rows
    assert all(cells(line) <= columns for line in lines)


def test_top_shows_board_guests_faults_and_losses() -> None:
    """What one looks for in a glance."""
    text = render_top(board(), 100, 24)
    assert "bench" in text and "MicroPython 1.25.0" in text and "up 1 min 40 s" in text
    assert "agent 2.0%" in text and "idle 47.0%" in text and "steal 1.0%" in text
    assert "lost 3" in text and "dropped 5" in text
    assert "† killed" in text and "overrun main.py:7" in text
    assert "1:39.000  guest_2.0 killed: overran its 5 ms slice (5.2 ms) at main.py:7" in text


def test_what_is_promised_beyond_the_board_stands_out() -> None:
    """A board can hold more than it may: its agent was replaced, its promises were lowered."""
    model = board(2)
    model.cpu_capacity, model.oversubscription_cpu = 0.15, 0.4
    line = header.capacity(model, None, 80)
    assert plain(line).rstrip() == "cpu reserved 20.0% of 15% · limits 40% of 40%"
    assert [text for text, mood in line if mood is Mood.WARN] == ["20.0%"]
    assert "of" not in plain(header.capacity(BoardModel(), None, 80))


def test_top_says_how_many_guests_are_out_of_sight() -> None:
    """Nothing is left out in silence."""
    text = render_top(board(60), 80, 24)
    shown = text.count("● running") + text.count("† killed")
    assert f"and {60 - shown} more" in text


def test_top_with_a_history_shows_the_last_second() -> None:
    """Shares since boot say nothing about now."""
    model, history = board(), History()
    history.observe(model)
    model.summaries += 1
    model.elapsed_us += 1_000_000
    model.idle_us += 900_000
    history.observe(model)
    assert "idle 90.0%" in render_top(model, 100, 24, history)
    assert "idle 47.4%" in render_top(model, 100, 24)


def test_shares_are_of_the_time_since_the_boot_where_the_board_has_booted_in_between() -> None:
    """A clock that goes back is a boot, not a negative share."""
    before = Times(10_000_000, 1_000_000, 2_000_000, 7_000_000, 0)
    now = Times(1_000_000, 100_000, 400_000, 500_000, 0)
    shares = now.shares(before)
    assert shares is not None and shares.guests == pytest.approx(0.4)
    assert Times().shares(before) is None


def test_ps_is_one_line_a_guest_with_quotas() -> None:
    """The table of docker ps: names first, columns aligned, whatever the values."""
    model = board()
    model.instances[3].cpu_max_us = None
    model.instances[3].mem_max = None
    model.instances[4].mem_exact = True
    lines = render_ps(model).splitlines()
    assert len(lines) == 4 and lines[0].startswith("NAME")
    at = lines[0].index("STATE")
    assert [line[at:].split()[0] for line in lines[1:]] == ["killed", "running", "running"]
    assert "overrun main.py:7" in lines[1] and "1ms/10ms" in lines[1] and "~12.1k" in lines[1]
    assert " -" in lines[2] and " 12.1k" in lines[3]


def test_ps_of_an_empty_board_is_its_heading() -> None:
    """A script that skips one line gets none."""
    assert len(render_ps(BoardModel()).splitlines()) == 1


WHY: dict[str, object] = {
    "name": "hog.0",
    "state": "killed",
    "reason": "overrun",
    "where": SPIN,
    "what": "",
    "at_s": 12,
    "limits": {
        "cpu_max_us": 20_000,
        "cpu_period_us": 100_000,
        "slice_max_us": 5_000,
        "mem_max": 32_768,
        "mem_min": None,
    },
    "used": {"mem_live": 1_024, "kills": 3},
    "logs": ["one", "two"],
}


def test_why_shows_state_reason_chain_quotas_and_last_lines() -> None:
    """The whole answer, each part under its own word."""
    assert render_why(WHY) == (
        "† hog.0 is killed\n"
        "  because    overrun, 12 s after boot\n"
        "  at         main.py:7 in spin\n"
        "  called by  main.py:12 in main\n"
        "  limits     cpu 20.0% (20 ms every 100 ms) · slice max 5 ms · mem max 32 KiB\n"
        "  used       mem live 1 KiB · kills 3\n"
        "  said last  one\n"
        "             two\n"
    )


def test_why_does_not_explain_a_running_guest_with_its_last_fault() -> None:
    """The board keeps the fault over a restart."""
    text = render_why(WHY | {"state": "running"})
    assert "last fault overrun, 12 s after boot" in text and "because" not in text


@given(
    st.dictionaries(
        st.sampled_from([*WHY, "else"]),
        st.one_of(
            st.none(),
            st.text(max_size=20),
            st.integers(),
            st.lists(st.text(max_size=5), max_size=3),
            st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
        ),
    )
)
def test_why_never_fails_on_what_a_board_says(reply: dict[str, object]) -> None:
    """An older, newer or broken agent is explained as far as it can be."""
    assert render_why(reply).strip()


def test_a_guest_cannot_write_to_the_terminal() -> None:
    """Control codes, line ends and direction marks in names, texts and logs are made harmless."""
    evil = "a\x1b[2Jb\rc\nd\u202ee\x9bf\u2028g"
    model = board(1)
    guest = model.instances[2]
    guest.name, guest.last_where, guest.last_fault = evil, evil, "overrun"
    model.board = model.firmware = evil
    model.events = [Event(1, 2, evil, "running", "failed", "exception", evil, evil)]
    why = render_why({"name": evil, "where": evil, "logs": [evil], "limits": {evil: evil}})
    for text in (render_top(model, 200, 24), render_ps(model), why):
        harmless = text.replace("\n", "")
        assert not set("\x1b\r\u202e\x9b\u2028") & set(harmless)
    assert len(render_ps(model).splitlines()) == 2


def test_top_can_be_said_in_ascii_without_losing_its_columns() -> None:
    """For an output that cannot encode the rest."""
    text = render_top(board(14), 120, 30)
    assert to_ascii(text).isascii() and len(to_ascii(text)) == len(text)


def test_the_screens_do_not_import_textual_or_polars() -> None:
    """`guesthouse top` and `ps` start quickly."""
    code = (
        "import sys, guesthouse.cli.screen;"
        "sys.exit(any(name.split('.')[0] in ('textual', 'rich', 'polars') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def bar(value: float, limit: float | None, size: int = 10, **more: object) -> str:
    return plain(meter(value, limit, size, **more))  # type: ignore[arg-type]


def test_a_bar_shows_use_limit_and_reservation() -> None:
    """The limit's tick stands in one column for all, the reservation's where it belongs."""
    assert bar(0, 0.2) == "────────┤ "
    assert bar(0.1, 0.2) == "━━━━────┤ "
    assert bar(0.2, 0.2) == "━━━━━━━━┤ "
    assert bar(0.05, 0.2, marks=(0.1,)) == "━━──┼───┤ "
    assert bar(0.15, 0.2, marks=(0.1,)) == "━━━━┿━──┤ "
    assert bar(0.25, 0.2) == "━━━━━━━━┿━"
    assert bar(0.5, None) == "━━━━╸──── "


def test_a_bar_warns_near_its_limit_and_cries_above_it() -> None:
    """And is calm below."""
    moods = [meter(value, 100, 10)[0][1] for value in (50, 90, 100, 110)]
    assert moods == [Mood.GOOD, Mood.WARN, Mood.WARN, Mood.BAD]


@given(
    st.floats(0, 1e9),
    st.one_of(st.none(), st.floats(0, 1e9)),
    st.integers(3, 60),
    st.lists(st.floats(0, 1e9), max_size=3),
)
def test_a_bar_is_as_wide_as_asked(
    value: float, limit: float | None, size: int, marks: list[float]
) -> None:
    """Whatever the numbers are, zero limits included."""
    assert width(meter(value, limit, size, marks)) == size


def test_a_sparkline_shows_the_newest_at_the_right() -> None:
    """And the top of the scale as a full block."""
    assert sparkline([0, 0.5, 1.0, 2.0], 1.0, 6) == "   ▅██"
    assert sparkline([], 1.0, 3) == "   " and sparkline([1], 0, 3) == "   "


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (short_bytes(0), "0"),
        (short_bytes(999), "999"),
        (short_bytes(1000), "1k"),
        (short_bytes(33_894), "33.1k"),
        (short_bytes(128 << 10), "128k"),
        (short_bytes(1 << 20), "1M"),
        (short_bytes(None), ""),
        (short_us(0), "0"),
        (short_us(850), "850us"),
        (short_us(12_000), "12ms"),
        (short_us(3_400_000), "3.4s"),
        (short_us(125_000_000), "2m05s"),
        (short_us(12_000_000_000), "3h20m"),
        (short_count(9_999), "9999"),
        (short_count(123_456), "123k"),
        (short_share(0.1234), "12.3%"),
        (short_share(1.0), "100%"),
        (short_share(0.9996), "100%"),
        (clock(5_123_456), "0:05.123"),
        (clock(3_723_456_000), "1:02:03.456"),
    ],
)
def test_figures_are_short(figure: str, text: str) -> None:
    """A cell of the table holds them."""
    assert figure == text


@given(st.integers(0, 2**32))
def test_figures_never_outgrow_their_cells(value: int) -> None:
    """Six cells for whatever a u32 of bytes, or a day of us, can be."""
    assert len(short_bytes(value)) <= 6 and len(short_us(value * 23)) <= 6


LINES = st.lists(st.tuples(st.text(max_size=12), st.sampled_from(Mood)), max_size=6)


@given(LINES, st.integers(0, 40))
def test_a_line_is_made_to_fit_exactly(line: Line, size: int) -> None:
    """Wide and combining characters included."""
    assert width(fit([(clean(text), mood) for text, mood in line], size)) == size


@given(LINES, st.integers(2, 40), st.integers(0, 30))
def test_wrapping_loses_nothing_but_spaces(line: Line, size: int, indent: int) -> None:
    """Every wrapped line fits, and all words are there in their order."""
    line = [(clean(text), mood) for text, mood in line]
    wrapped = wrap(line, size, indent)
    assert all(width(part) <= size for part in wrapped)
    told = "".join("".join(plain(part).split()) for part in wrapped)
    assert told == "".join(plain(line).split())


def test_cut_says_that_it_cut() -> None:
    """With an ellipsis, within the size, also between wide characters."""
    assert cut("abcdef", 4) == "abc…"
    assert cut("日本語", 4) == "日…"
    assert cut("abc", 3) == "abc" and cut("abc", 0) == ""


def test_wide_characters_take_two_cells() -> None:
    """As in every terminal."""
    assert cells("日本") == 4 and cells("é") == 1 and cells("e\u0301") == 1


def test_why_tells_every_quota_that_is_out_of_the_ordinary() -> None:
    """Reservation, weight, suspension and the three marks of memory; nothing for the defaults."""
    limits = {
        "mem_high": 24_576, "weight": 100, "on_overrun": "suspend", "cpu_min_period_us": 10_000,
        "mem_max": None, "cpu_period_us": 100_000, "slice_max_us": 5_000, "mem_min": 8_192,
        "cpu_min_us": 1_000, "cpu_max_us": None,
    }  # fmt: skip
    told = render_why(WHY | {"limits": limits})
    assert "  limits     reserved 10.0% (1 ms every 10 ms) · slice max 5 ms\n" in told
    assert "  on overrun suspend · mem min 8 KiB · mem high 24 KiB\n" in told
    text = render_why(WHY | {"limits": limits | {"weight": 50, "on_overrun": "kill"}})
    assert "· weight 50 ·" in text and "overrun kill" not in text
    assert "mem min 8 KiB · mem high 24 KiB" in text


def test_why_does_not_say_that_a_waiting_guest_is_throttled() -> None:
    """The board keeps the reason until the next one, and no time of it."""
    text = render_why(WHY | {"state": "waiting", "reason": "throttled"})
    assert "throttled" not in text and "after boot" not in text


def test_why_tells_missed_deadlines_with_what_was_in_the_way() -> None:
    """In the words of the events."""
    breach = {
        "count": 3, "missing_us": 1_600, "cause": "collect", "by": "hog.0", "length_us": 17_000,
    }  # fmt: skip
    assert (
        "  reserved   3 deadlines missed, the last by 1.6 ms: a collection of 17 ms for hog.0\n"
    ) in render_why(WHY | {"breach": breach})
    none = breach | {"count": 1, "cause": "none", "by": "", "length_us": 0}
    assert "1 deadline missed, the last by 1.6 ms: no blackout\n" in render_why(
        WHY | {"breach": none}
    )
