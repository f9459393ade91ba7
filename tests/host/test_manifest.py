"""A manifest is checked on the host, and every mistake names the file, the key, what is allowed."""

from __future__ import annotations

import json
import runpy
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.core.assets import agent_dir
from guesthouse.core.errors import ExitCode
from guesthouse.core.units import MAX_SIZE
from guesthouse.guests.manifest import (
    Capacity,
    Manifest,
    ManifestError,
    check_name,
    load_manifest,
    manifest_from_options,
    normalize,
    valid_name,
)
from guesthouse.guests.sections import BACKOFF_MAX_S, PERIOD_RANGE_US, SLICE_RANGE_US

FULL = """
name = "sampler"
version = "1.2"
kind = "task"
autostart = false
criticality = 7
trust = "own"
[cpu]
min = "1ms/10ms"
max = "20%"
period = "50ms"
weight = 300
slice_max = "2ms"
load_max = "100ms"
on_overrun = "suspend"
[memory]
min = "8k"
high = "24k"
max = "32k"
[storage]
max = "16k"
[devices]
led = "gpio:25"
temp = "adc:4"
[restart]
policy = "always"
backoff = "2s..30s"
"""


def read(text: str, capacity: Capacity | None = None) -> Manifest:
    return normalize(tomllib.loads(text), "guest.toml", default_name="guest", capacity=capacity)


def complaint(text: str, capacity: Capacity | None = None) -> str:
    with pytest.raises(ManifestError) as caught:
        read(text, capacity)
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.message.startswith("guest.toml: ")
    assert caught.value.hint
    return f"{caught.value.message} | {caught.value.hint}"


def test_every_key_reaches_the_board_in_its_units() -> None:
    assert read(FULL).to_json_dict() == {
        "name": "sampler",
        "version": "1.2",
        "entry": "async",
        "kind": "task",
        "autostart": False,
        "criticality": 7,
        "trust": "own",
        "cpu_max_us": 10_000,
        "cpu_period_us": 50_000,
        "cpu_min_us": 1_000,
        "cpu_min_period_us": 10_000,
        "weight": 300,
        "slice_max_us": 2_000,
        "on_overrun": "suspend",
        "mem_min": 8192,
        "mem_high": 24576,
        "mem_max": 32768,
        "storage_max": 16384,
        "restart": "always",
        "backoff_min_s": 2,
        "backoff_max_s": 30,
        "load_max_us": 100_000,
        "devices": {"led": "gpio:25", "temp": "adc:4"},
    }


def test_an_empty_manifest_is_the_documented_defaults() -> None:
    manifest = read("")
    assert manifest == Manifest("guest")
    assert (manifest.cpu_max_us, manifest.cpu_period_us, manifest.slice_max_us) == (
        None,
        100_000,
        5_000,
    )
    assert (manifest.restart, manifest.backoff_min_s, manifest.backoff_max_s) == (
        "on-failure",
        1,
        60,
    )
    json.dumps(manifest.to_json_dict())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[cpu]\nmx = '20%'", ["[cpu] mx", "did you mean 'max'?"]),
        ("[cpus]\nmax = '20%'", ["[cpus]", "did you mean 'cpu'?"]),
        ("autostrat = true", ["autostrat", "did you mean 'autostart'?"]),
        ("[restart]\ntrust = 'own'", ["[restart] trust", "before the first [section]"]),
        ("slice_max = '2ms'", ["slice_max", "belongs in [cpu]"]),
        ("[storage]\nquux = 1", ["[storage] quux", "takes max"]),
        ("cpu = 3", ["cpu must be a table, not a number", "[cpu]"]),
        ("[cpu]\nmax = true", ["[cpu] max", '"20%"']),
        ("[cpu]\nmax = [1]", ["[cpu] max", "a list"]),
        ("[cpu]\nmax = '-20%'", ["[cpu] max", "negative"]),
        ("[cpu]\nmax = -0.2", ["[cpu] max", "negative"]),
        ("[cpu]\nmax = '150%'", ["[cpu] max", "one whole CPU"]),
        ("[cpu]\nmax = '0%'", ["[cpu] max"]),
        ("[cpu]\nmax = nan", ["[cpu] max"]),
        ("[cpu]\nmax = '1ms/20s'", ["[cpu] max", "10 s"]),
        ("[cpu]\nmax = '1ms/2500us'", ["[cpu] max", "whole milliseconds"]),
        ("[cpu]\nmin = '1ms/2500us'", ["[cpu] min", "whole milliseconds"]),
        ("[cpu]\nperiod = '1500us'", ["[cpu] period", "whole milliseconds"]),
        ("[cpu]\nmax = '1ms/10ms'\nperiod = '100ms'", ["[cpu] max", "period once"]),
        ("[cpu]\nmin = '30%'\nmax = '20%'", ["[cpu] min (30.0%) is above max (20.0%)"]),
        ("[cpu]\nslice_max = '200ms'", ["[cpu] slice_max (200 ms) is longer than the period"]),
        ("[cpu]\nslice_max = '5'", ["[cpu] slice_max", '"5ms"']),
        ("[cpu]\nslice_max = 5", ["[cpu] slice_max", '"5ms"']),
        ("[cpu]\nslice_max = '1us'", ["[cpu] slice_max", "100 us"]),
        ("[cpu]\nslice_max = '-1ms'", ["[cpu] slice_max", "negative"]),
        ("[cpu]\nweight = 0", ["[cpu] weight is 0", "from 1 to 10000"]),
        ("[cpu]\nweight = '100'", ["[cpu] weight", "whole number"]),
        ("[cpu]\non_overrun = 'kil'", ["[cpu] on_overrun", "did you mean 'kill'?"]),
        ("[cpu]\non_overrun = 'shoot'", ["[cpu] on_overrun", '"kill" or "suspend"']),
        ("[memory]\nmax = -1", ["[memory] max is -1", "negative"]),
        ("[memory]\nmax = '32x'", ["[memory] max", '"32k"']),
        ("[memory]\nmax = 0", ["[memory] max is 0"]),
        ("[memory]\nmin = '8k'\nmax = '4k'", ["[memory] min (8 KiB) is above max (4 KiB)"]),
        ("[memory]\nbuffer = '8k'\nmin = '4k'", ["[memory] buffer (8 KiB) is above min (4 KiB)"]),
        ("[memory]\nhigh = '8k'\nmax = '4k'", ["[memory] high (8 KiB) is above max (4 KiB)"]),
        ("[storage]\nmax = -5", ["[storage] max is -5"]),
        ("[devices]\nled = 'gpo:25'", ["[devices] led", "did you mean 'gpio:25'?"]),
        ("[devices]\nled = 25", ["[devices] led", '"gpio:25"']),
        ("[devices]\nLED = 'gpio:25'", ["[devices] LED"]),
        ("[restart]\nbackoff = '9s..1s'", ["[restart] backoff", "not longer than the last"]),
        ("[restart]\nbackoff = '500ms'", ["[restart] backoff", "whole seconds"]),
        ("[restart]\nbackoff = 5", ["[restart] backoff", '"1s..60s"']),
        ("[restart]\npolicy = 'allways'", ["[restart] policy", "did you mean 'always'?"]),
        ("kind = 'thread'", ["kind is 'thread'", '"task"']),
        ("criticality = 11", ["criticality is 11", "0 to 10"]),
        ("autostart = 1", ["autostart is 1", "true or false"]),
        ("version = 2", ["version is 2"]),
        ("name = 'Sampler 2'", ["'Sampler 2' cannot name a guest", "try 'sampler_2'"]),
        ("name = 7", ["7 cannot name a guest"]),
        ("name = 'agent'", ["taken by the board itself"]),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(text: str, expected: list[str]) -> None:
    said = complaint(text)
    for part in expected:
        assert part in said


def test_a_quota_above_what_the_board_has_is_refused_with_both_figures() -> None:
    capacity = Capacity(cpu=0.9, heap=100_000)
    assert "(95%) is above what this board has for guests (90%)" in complaint(
        "[cpu]\nmax = '95%'", capacity
    )
    assert "[memory] max (200 KiB) is above this board's heap (97.7 KiB)" in complaint(
        "[memory]\nmax = '200k'", capacity
    )
    assert "[memory] min" in complaint("[memory]\nmin = '200k'", capacity)
    assert read("[cpu]\nmax = '90%'\n[memory]\nmax = '90k'", capacity).mem_max == 92160


def test_options_lie_over_the_manifest_and_errors_name_the_option() -> None:
    raw = tomllib.loads(FULL)
    manifest = normalize(
        raw, "guest.toml", overrides={("cpu", "max"): "40%", ("memory", "max"): "64k"}
    )
    assert (manifest.cpu_max_us, manifest.mem_max) == (20_000, 65536)
    assert manifest.weight == 300
    with pytest.raises(ManifestError, match=r"^--mem is '-1k'"):
        normalize(raw, "guest.toml", overrides={("memory", "max"): "-1k"})
    with pytest.raises(ManifestError, match=r"^--cpu is '120%'"):
        manifest_from_options("main", {("cpu", "max"): "120%"})
    assert manifest_from_options("main", {("cpu", "weight"): 50}).weight == 50
    assert normalize(raw, "guest.toml", overrides={("cpu", "max"): "none"}).cpu_max_us is None


def test_a_file_that_is_no_toml_or_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"guest\.toml: cannot be read"):
        load_manifest(tmp_path / "guest.toml")
    file = tmp_path / "guest.toml"
    file.write_text("[cpu]\nmax = 20%\n")
    with pytest.raises(ManifestError, match=r"is not TOML: .*line 2"):
        load_manifest(file)
    file.write_bytes(b"name = '\xff'")
    with pytest.raises(ManifestError, match="not UTF-8"):
        load_manifest(file)
    file.write_text('name = "sampler"')
    assert load_manifest(file).name == "sampler"


@given(st.text(max_size=40))
def test_any_text_bends_into_a_valid_name(text: str) -> None:
    assert check_name(valid_name(text), "name") == valid_name(text)


@given(
    st.dictionaries(
        st.sampled_from(["cpu", "memory", "storage", "devices", "restart", "name", "weight"]),
        st.one_of(
            st.integers(),
            st.text(max_size=8),
            st.booleans(),
            st.dictionaries(
                st.sampled_from(["min", "max", "period", "slice_max", "backoff", "high", "x"]),
                st.one_of(
                    st.integers(), st.floats(), st.text(max_size=8), st.booleans(), st.none()
                ),
                max_size=4,
            ),
        ),
        max_size=4,
    )
)
def test_whatever_stands_in_it_the_outcome_is_a_manifest_or_words(raw: dict[str, object]) -> None:
    try:
        manifest = normalize(raw, "guest.toml", default_name="guest")
    except ManifestError as error:
        assert error.message and error.code is ExitCode.USAGE
    else:
        json.dumps(manifest.to_json_dict())


def test_a_buffer_is_promised_as_well_and_told_only_where_there_is_one() -> None:
    told = read("[memory]\nbuffer = '4k'").to_json_dict()
    assert (told["mem_buffer"], told["mem_min"]) == (4096, 4096)
    told = read("[memory]\nbuffer = '4k'\nmin = '8k'").to_json_dict()
    assert (told["mem_buffer"], told["mem_min"]) == (4096, 8192)
    assert "mem_buffer" not in read("[memory]\nmin = '8k'").to_json_dict()


def test_what_no_agent_enforces_yet_is_said() -> None:
    manifest = normalize(tomllib.loads(FULL), "guest.toml")
    assert [remark.split(" is")[0] for remark in manifest.unenforced()] == [
        "storage.max",
        "devices",
    ]
    assert Manifest("plain").unenforced() == []


def test_confinement_is_refused_rather_than_promised() -> None:
    with pytest.raises(ManifestError) as caught:
        normalize({"name": "g", "trust": "confined"}, "guest.toml")
    assert "trust" in str(caught.value)
    assert "programs that you trust" in caught.value.hint


def test_the_board_takes_exactly_what_the_host_takes(tmp_path: Path) -> None:
    """The agent checks what comes off its flash: neither side is stricter than the other."""
    ranges = runpy.run_path(str(agent_dir() / "house" / "ranges.py"))
    wrong = ranges["wrong"]
    for text in (FULL.split("\n", 2)[2], ""):
        (tmp_path / "guest.toml").write_text(f'name = "g"\n{text}', encoding="utf-8")
        spec = load_manifest(tmp_path / "guest.toml").to_json_dict()
        assert wrong(spec) is None
    numbers = {key: (least, most) for key, least, most, _ in ranges["_NUMBERS"]}
    assert numbers["cpu_period_us"] == numbers["cpu_min_period_us"] == PERIOD_RANGE_US
    assert numbers["slice_max_us"] == SLICE_RANGE_US
    assert numbers["backoff_max_s"][1] == BACKOFF_MAX_S
    assert {numbers[key][1] for key in ("mem_min", "mem_high", "mem_max", "storage_max")} == {
        MAX_SIZE
    }
    for key, (least, most) in numbers.items():
        assert wrong(spec | {key: least}) is wrong(spec | {key: most}) is None
        for value in (least - 1, most + 1, str(least), least + 0.5):
            assert key in wrong(spec | {key: value})
    orders = (
        {"mem_min": 2, "mem_max": 1},
        {"mem_min": 2, "mem_high": 1},
        {"mem_high": 2, "mem_max": 1},
        {"cpu_min_us": 1_001, "cpu_min_period_us": 10_000, "cpu_max_us": 10_000},
        {"cpu_period_us": 1_500},
        {"cpu_min_period_us": 1_500},
    )
    for order in orders:
        assert next(iter(order)) in wrong(spec | order)
    for order in orders[:4]:
        low = next(iter(order))
        assert wrong(spec | order | {low: order[low] - 1}) is None
