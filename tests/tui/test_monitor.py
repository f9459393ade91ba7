"""What the monitor promises to whoever sits in front of it."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from textual.color import Color
from textual.geometry import Region
from textual.widgets import Input

from guesthouse.core.model import Event, LogLine
from guesthouse.tui.app import MonitorApp
from guesthouse.tui.dialogs import Confirm
from guesthouse.tui.guests import GuestTable
from guesthouse.tui.header import BoardHeader
from guesthouse.tui.panes import Pane
from guesthouse.tui.screen import EVENTS_SHOWN, LOGS_SHOWN
from guesthouse.tui.source import LinkState, LinkStatus, News
from tests.tui.driving import screen_text, until
from tests.tui.synthetic import HandSource, crowd, demo_board, tick


def selected(app: MonitorApp) -> str:
    guest_table = app.screen_stack[0].query_one(GuestTable)
    return next(r.guest.name for r in guest_table.rows if r.guest.id == guest_table.selected)


def _shows(app: MonitorApp, expected: list[str]) -> bool:
    return shown(app) == expected


def shown(app: MonitorApp) -> list[str]:
    return [row.guest.name for row in app.screen_stack[0].query_one(GuestTable).rows]


async def test_the_selection_stays_with_its_guest_over_updates() -> None:
    """Guests come and go above the selected one, which stays selected and is still explained."""
    model = demo_board()
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("down", "down", "down")
        assert selected(app) == "blinker.0"
        del model.instances[2]
        del model.instances[3]
        for _ in range(5):
            tick(model)
            source.announce()
            await until(pilot, lambda: not source.waiting)
        await until(pilot, lambda: "control.0" not in shown(app))
        assert selected(app) == "blinker.0"
        assert "why blinker.0" in screen_text(app)


async def test_when_the_selected_guest_is_removed_its_neighbour_is_selected() -> None:
    """The cursor does not jump to the top."""
    model = demo_board()
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "down", "down")
        del model.instances[5]
        source.announce()
        await until(pilot, lambda: "blinker.0" not in shown(app))
        assert selected(app) == "hog_polite.0"


async def test_the_selection_survives_a_boot_that_gives_out_other_ids() -> None:
    """The board boots, the table empties, guests come back under other ids: same guest selected."""
    model = demo_board()
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down")
        guests = list(model.instances.values())
        model.instances.clear()
        source.announce()
        await until(pilot, lambda: not shown(app))
        for id, guest in enumerate(reversed(guests), start=2):
            guest.id = id
            model.instances[id] = guest
            source.announce()
            await until(pilot, partial(_shows_last, app, guest.name))
        assert selected(app) == "sampler.0"


def _shows_last(app: MonitorApp, name: str) -> bool:
    return shown(app)[-1:] == [name]


async def test_the_scroll_position_of_a_pane_stays_over_updates() -> None:
    """Whoever has scrolled back reads on while new events come; at the end it follows."""
    model = demo_board()
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        pane = app.screen.query_one("#events", Pane)
        await until(pilot, lambda: pane.scroll_offset.y == pane.max_scroll_y > 0, "it follows")
        pane.scroll_to(y=1, animate=False, force=True)
        await pilot.pause()
        source.announce(News(events=[_killed(90), _killed(91)]))
        await until(pilot, lambda: pane.text.count("5 ms slice") == 3)
        assert pane.scroll_offset.y == 1
        pane.scroll_to(y=pane.max_scroll_y, animate=False, force=True)
        await pilot.pause()
        source.announce(News(events=[_killed(92)]))
        await until(pilot, lambda: pane.text.count("5 ms slice") == 4)
        assert pane.scroll_offset.y == pane.max_scroll_y


def _killed(at_s: int) -> Event:
    where = "main.py:7 in spin < main.py:12 in main"
    numbers = (5_200, 5_000, 1, 0, 0)
    return Event(
        at_s * 1_000_000, 7, "hog_loop.0", "running", "killed", "overrun", where, "", numbers
    )


async def test_only_what_changed_is_painted_again() -> None:
    """One guest's CPU moves: its line is repainted, and no other line of the table."""
    model = demo_board()
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        guest_table = app.screen.query_one(GuestTable)
        painted: list[tuple[Region, ...]] = []
        refresh = guest_table.refresh

        def spy(*regions: Region, **options: bool) -> GuestTable:
            painted.append(regions)
            return refresh(*regions, **options)

        guest_table.refresh = spy  # type: ignore[method-assign]
        model.instances[4].cpu_share = 0.055
        source.announce()
        await until(pilot, lambda: "5.5%" in screen_text(app))
        assert painted == [(Region(0, 3, 120, 1),)]


async def test_the_filter_shows_what_matches_and_escape_shows_everything() -> None:
    """By name, by state and by the last fault; events and log follow."""
    app = MonitorApp(HandSource(demo_board()), frame_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        for text, expected in (
            ("hog", ["hog_polite.0", "hog_loop.0"]),
            ("quaran", ["crasher.0"]),
            ("oom", ["leaker.0"]),
            ("nobody", []),
        ):
            await pilot.press("slash")
            await until(pilot, lambda: isinstance(app.focused, Input))
            await pilot.press(*text)
            await until(pilot, partial(_shows, app, expected), text)
            if text == "hog":
                events = app.screen.query_one("#events", Pane).text
                assert "hog_loop.0" in events and "leaker.0" not in events
            if not expected:
                assert "no guest matches the filter" in screen_text(app)
            await pilot.press("escape")
            await until(pilot, lambda: len(shown(app)) == 9)


async def test_keys_typed_into_the_filter_are_no_commands() -> None:
    """k, s, r and q are letters there."""
    source = HandSource(demo_board())
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.focused, Input))
        await pilot.press("s", "k", "r", "q")
        await pilot.pause()
        assert app.is_running and app.focused is not None
        assert app.screen.query_one("#filter", Input).value == "skrq"
        assert source.commands == []


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        (("y",), [("kill", "sampler.0")]),
        (("n",), []),
        (("escape",), []),
        (("enter",), []),  # what the dialog opens on is to keep
        (("left", "enter"), [("kill", "sampler.0")]),
    ],
)
async def test_a_kill_is_sent_only_after_yes(
    keys: tuple[str, ...], sent: list[tuple[str, str]]
) -> None:
    """k asks, naming the guest; only a yes sends the command."""
    source = HandSource(demo_board())
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "k")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "Kill sampler.0?" in screen_text(app)
        assert source.commands == []
        await pilot.press(*keys)
        await until(pilot, lambda: not isinstance(app.screen, Confirm))
        await pilot.pause()
        assert source.commands == sent


async def test_the_guest_that_was_asked_about_is_killed_though_the_table_moved() -> None:
    """The guest vanishes from the table while the question is open: no other one is killed."""
    model = demo_board()
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "k")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        del model.instances[3]
        source.announce()
        await until(pilot, lambda: "sampler.0" not in shown(app))
        await pilot.press("y")
        await until(pilot, lambda: bool(source.commands))
        assert source.commands == [("kill", "sampler.0")]


async def test_s_starts_what_has_ended_and_stops_what_runs_and_r_restarts() -> None:
    """One key for both, by the guest's state."""
    source = HandSource(demo_board())
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("s", "r", "end", "s")
        await until(pilot, lambda: len(source.commands) == 3)
        expected = [("stop", "control.0"), ("restart", "control.0"), ("start", "stats.0")]
        assert source.commands == expected


async def test_a_refused_command_says_why_and_what_to_do() -> None:
    """The board's own words and the hint are on the screen."""
    source = HandSource(demo_board())
    source.refuses = True
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.press("r")
        await until(pilot, lambda: "control.0 is gone" in screen_text(app))
        assert "deploy it first" in screen_text(app)


async def test_a_lost_link_is_said_and_recovers_by_itself() -> None:
    """The last picture stays, marked as old; when the board is back, so is the picture."""
    model = demo_board()
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "● connected u0" in screen_text(app)
        source.status = LinkStatus(LinkState.DISCONNECTED, "/dev/ttyUSB0")
        source.announce()
        await until(pilot, lambda: "link lost, waiting for /dev/ttyUSB0" in screen_text(app))
        assert app.screen.has_class("-stale")
        assert "hog_loop.0" in screen_text(app)
        source.status = LinkStatus(LinkState.CONNECTED, "u0")
        tick(model)
        source.announce()
        await until(pilot, lambda: "● connected u0" in screen_text(app))
        assert not app.screen.has_class("-stale")


async def test_a_lost_link_greys_the_picture() -> None:
    """Not the words alone: the rows lose their colour."""
    source = HandSource(demo_board())
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        before = _saturation(app, row=3)
        source.status = LinkStatus(LinkState.DISCONNECTED, "u0")
        source.announce()
        await until(pilot, lambda: app.screen.has_class("-stale"))
        await pilot.pause()
        assert _saturation(app, row=3) < before * 0.8


def _saturation(app: MonitorApp, row: int) -> float:
    """The strongest colour of a row of the screen, 0 (grey) to 1."""
    strip = app.screen._compositor.render_strips()[row]
    colours = [Color.from_rich_color(s.style.color) for s in strip if s.style and s.style.color]
    return max(max(c.rgb) - min(c.rgb) for c in colours) / 255


async def test_a_recording_and_a_replay_are_named_in_the_header() -> None:
    """Whoever looks knows whether this is now, and whether it is being kept."""
    source = HandSource(demo_board(), LinkStatus(LinkState.CONNECTED, "u0", "night.ghr"))
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "recording to night.ghr" in screen_text(app)
        source.status = LinkStatus(LinkState.REPLAY, "night.ghr")
        source.announce()
        await until(pilot, lambda: "▷ replay night.ghr" in screen_text(app))
        source.status = LinkStatus(LinkState.ENDED, "night.ghr")
        source.announce()
        await until(pilot, lambda: "end of night.ghr" in screen_text(app))


async def test_fourteen_guests_fit_80x24() -> None:
    """All in sight, with their figures, beside header, events and keys."""
    app = MonitorApp(HandSource(crowd(14)), frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        text = screen_text(app)
        for number in range(1, 15):
            assert f"guest_{number:02}.0" in text
        assert "q quit" in text and "? help" in text and "[events]" in text
        assert all(len(line) <= 80 for line in text.splitlines())


async def test_more_guests_than_rows_scroll_with_the_cursor() -> None:
    """The heading stays, the selected guest is in sight."""
    app = MonitorApp(HandSource(crowd(40)), frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("end")
        await pilot.pause()
        text = screen_text(app)
        assert "▸guest_40.0" in text and "guest_01.0" not in text
        assert text.splitlines()[3].startswith(" guest")
        await pilot.press("home")
        await pilot.pause()
        assert "▸guest_01.0" in screen_text(app)


async def test_updates_between_two_pictures_are_drawn_at_once() -> None:
    """500 updates make a handful of pictures, and the logs stay bounded."""
    model = crowd(14)
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0.2)
    async with app.run_test(size=(120, 40)) as pilot:
        pictures = 0
        header = app.screen.query_one(BoardHeader)
        show = header.show

        def spy(*args: object, **options: object) -> None:
            nonlocal pictures
            pictures += 1
            show(*args, **options)  # type: ignore[arg-type]

        header.show = spy  # type: ignore[method-assign]
        for number in range(500):
            tick(model)
            line = LogLine(number * 1000, 2 + number % 14, "guest", f"line {number}")
            source.announce(News(events=[_killed(100 + number)] * 4, logs=[line] * 4))
            await asyncio.sleep(0)
        pane = app.screen.query_one("#log", Pane)
        await pilot.press("l")
        await until(pilot, lambda: "line 499" in pane.text)
        assert pictures < 50
        assert len(pane.text.splitlines()) <= LOGS_SHOWN
        assert len(app.screen.query_one("#events", Pane).text.splitlines()) <= EVENTS_SHOWN * 3


async def test_pause_holds_the_picture_and_loses_no_event() -> None:
    """Figures stand still and nothing is missing afterwards."""
    model = demo_board()
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: "paused" in screen_text(app))
        model.instances[2].state = "suspended"
        source.announce(News(events=[_killed(95)]))
        await until(pilot, lambda: not source.waiting)
        await pilot.press("down", "up")
        await pilot.pause()
        assert "suspended" not in screen_text(app)
        await pilot.press("p")
        await until(pilot, lambda: "suspended" in screen_text(app))
        assert "1:35.000" in app.screen.query_one("#events", Pane).text


async def test_tab_goes_round_the_places() -> None:
    """Guests, why, events, log and back; where panes share a place, it comes to the front."""
    app = MonitorApp(HandSource(demo_board()), frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        seen = []
        for _ in range(4):
            await pilot.press("tab")
            await pilot.pause()
            focused = app.focused
            assert focused is not None and focused.region.height > 1
            seen.append(focused.id or "guests")
        assert seen == ["why", "events", "log", "guests"]


async def test_console_text_and_prints_share_the_log() -> None:
    """Console text comes in pieces and is shown line by line; control codes do not reach us."""
    source = HandSource(demo_board())
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        source.announce(News(console=["MPY: soft re", "boot\r\n\x1b[31mred\x1b[0m\n"]))
        pane = app.screen.query_one("#log", Pane)
        await until(pilot, lambda: "MPY: soft reboot" in pane.text)
        assert "\x1b" not in pane.text and "·[31mred" in pane.text
        assert "sampler.0 mean 20.40" in pane.text


async def test_no_color_leaves_no_colour_and_every_state_its_glyph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """NO_COLOR is honoured, and nothing is said by colour alone."""
    monkeypatch.setenv("NO_COLOR", "1")
    app = MonitorApp(HandSource(demo_board()), frame_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "◐ throttled" in screen_text(app) and "⊘ quarantined" in screen_text(app)
        assert all(_grey(app, row) for row in range(40))


def _grey(app: MonitorApp, row: int) -> bool:
    strip = app.screen._compositor.render_strips()[row]
    for filter in app.get_line_filters():
        strip = strip.apply_filter(filter, Color(0, 0, 0))
    styles = [segment.style for segment in strip if segment.style]
    colours = [c for style in styles for c in (style.color, style.bgcolor) if c]
    return all(len(set(Color.from_rich_color(c).rgb)) == 1 for c in colours)


async def test_both_themes_paint_and_t_switches() -> None:
    """Light and dark differ, and every mood has a colour in both."""
    app = MonitorApp(HandSource(demo_board()), frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        dark = app.screen.styles.background
        await pilot.press("t")
        await pilot.pause()
        light = app.screen.styles.background
        assert light.brightness > 0.8 > 0.2 > dark.brightness


async def test_quit_closes_the_source() -> None:
    """q leaves the port to the next command."""
    source = HandSource(demo_board())
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("q")
        await pilot.pause()
    assert source.closed and not app.is_running


@pytest.mark.parametrize("size", [(20, 6), (40, 10), (80, 8), (300, 80)])
async def test_odd_terminals_do_not_break_it(size: tuple[int, int]) -> None:
    """Too small is cut, too big is used; nothing raises."""
    model = demo_board()
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=size) as pilot:
        tick(model)
        source.announce()
        await pilot.press("down", "tab", "tab", "tab", "e", "w", "slash", "x", "escape")
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert "control.0" in screen_text(app)


async def test_an_empty_board_says_so() -> None:
    """Before the first record there is a header, a table without guests, and no error."""
    from guesthouse.core.model import BoardModel

    source = HandSource(BoardModel())
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("k", "s", "r", "w", "down")
        await pilot.pause()
        assert "no guests yet" in screen_text(app) and "no board yet" in screen_text(app)
        assert source.commands == []
