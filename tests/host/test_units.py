"""What people write as quotas is understood or refused with words; figures read well."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.units import (
    fmt_bytes,
    fmt_share,
    fmt_us,
    parse_cpu,
    parse_size,
    parse_time_us,
)


@pytest.mark.parametrize(
    ("text", "us"),
    [("5ms", 5_000), ("250us", 250), ("250µs", 250), ("1.5 s", 1_500_000), ("2min", 120_000_000)],
)
def test_times(text: str, us: int) -> None:
    assert parse_time_us(text) == us


@pytest.mark.parametrize("value", ["5", 5, "", "ms", "-5ms", "5 parsecs", None, "1e3ms", "5ms5ms"])
def test_a_time_without_a_unit_or_sense_is_refused(value: object) -> None:
    with pytest.raises(GuesthouseError, match="is not a time") as caught:
        parse_time_us(value)
    assert caught.value.code is ExitCode.USAGE
    assert "5ms" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "quota"),
    [
        ("20%", (20_000, 100_000)),
        (0.2, (20_000, 100_000)),
        ("0.2", (20_000, 100_000)),
        (1, (100_000, 100_000)),
        ("1ms/10ms", (1_000, 10_000)),
        ("12.5%", (12_500, 100_000)),
    ],
)
def test_cpu_quotas(value: object, quota: tuple[int, int]) -> None:
    assert parse_cpu(value) == quota


def test_a_share_is_of_the_period_that_was_asked_for() -> None:
    assert parse_cpu("20%", period_us=10_000) == (2_000, 10_000)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("-20%", "is not a CPU quota"),
        (-0.2, "is not a CPU quota"),
        ("120%", "more than one whole CPU"),
        (20, "more than one whole CPU"),
        ("20ms/10ms", "more than one whole CPU"),
        ("0%", "leaves no microsecond"),
        ("0ms/10ms", "leaves no microsecond"),
        ("1ms/0ms", "the period"),
        ("1ms/20h", "the period"),
        (True, "is not a CPU quota"),
        (float("nan"), "is not a CPU quota"),
        ("lots", "is not a CPU quota"),
        ("1.2.3%", "is not a CPU quota"),
        (None, "is not a CPU quota"),
    ],
)
def test_a_cpu_quota_that_no_board_could_keep_is_refused(value: object, says: str) -> None:
    with pytest.raises(GuesthouseError, match=says) as caught:
        parse_cpu(value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("value", "size"),
    [("32k", 32_768), ("32K", 32_768), ("1.5M", 1_572_864), ("512", 512), (512, 512), (0, 0)],
)
def test_sizes(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", [-1, "-1k", "5GB", "k", True, 2**32, 1.5, None])
def test_a_size_without_sense_is_refused(value: object) -> None:
    with pytest.raises(GuesthouseError, match="size"):
        parse_size(value)


@given(st.integers(0, 2**32 - 2**28))
def test_a_formatted_size_is_understood_again_to_its_digits(size: int) -> None:
    assert parse_size(fmt_bytes(size)) == pytest.approx(size, rel=0.05)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0 us"),
        (999.4, "999 us"),
        (999.6, "1 ms"),
        (1_250, "1.25 ms"),
        (99_960, "100 ms"),
        (3_400_000, "3.4 s"),
        (59_960_000, "1 min 00 s"),
        (125_000_000, "2 min 05 s"),
        (9_000_000_000, "2 h 30 min"),
        (-1_500, "-1.5 ms"),
        (None, "-"),
    ],
)
def test_times_are_shown_to_three_digits(us: float | None, text: str) -> None:
    assert fmt_us(us) == text


def test_shares_and_sizes_are_shown() -> None:
    assert [fmt_share(n) for n in (0.2, -0.02, -0.0001, None)] == ["20.0%", "-2.0%", "0.0%", "-"]
    assert [fmt_bytes(n) for n in (812, 8_300, 32_768, 1_572_864, 3 << 30, None)] == [
        "812 B",
        "8.1 KiB",
        "32 KiB",
        "1.5 MiB",
        "3 GiB",
        "-",
    ]
