"""The harness on made-up works: turns, medians, ratios, peak memory, mistakes; the table and the JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import measure
from benchmarks.report import record, table, value
from benchmarks.sizes import TINY
from benchmarks.work import BenchmarkError, Measured, Result, Setting, Work
from tests.benchmarks import sides


def work(ours: Any, published: Any, **options: Any) -> Work:
    return Work("made-up", "nothing", ours, published, "all", **options)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path, 1, "cpu", TINY)


def test_values_of_parts_are_added_up_and_the_median_counts(setting: Setting) -> None:
    made = work(sides.one, sides.values, unit="%", repetitions=3, tolerance=1e-3, at_least=20, at_most=1)
    result = measure(made, setting)
    assert result.published.values == (10.0, 12.0, 26.0)
    assert result.ours.values == (1.0, 1.0, 1.0)
    assert result.ratio == 12
    assert not result.reached
    assert dataclasses.replace(result, work=work(sides.one, sides.values, at_least=12, at_most=1)).reached
    assert not dataclasses.replace(result, work=work(sides.one, sides.values, at_most=0.9)).reached


def test_sides_are_timed_in_turns_after_a_warm_up_and_closed(setting: Setting) -> None:
    result = measure(work(sides.quick, sides.sleeper, repetitions=2), setting)
    lines = (setting.folder / "order").read_text().splitlines()
    assert lines == [f"{side} {n}" for n in (0, 0, 1) for side in ("sleeper", "quick")]
    assert all(0.2 <= seconds < 10 for seconds in result.published.values)
    assert result.ratio > 1
    assert (setting.folder / "closed").exists()


def test_peak_memory_is_of_each_side_alone(setting: Setting) -> None:
    result = measure(work(sides.quick, sides.wide, repetitions=1, warm_up=0), setting)
    assert 200 < result.published.peak_mib - result.ours.peak_mib < 300


def test_other_answers_are_refused(setting: Setting) -> None:
    with pytest.raises(BenchmarkError, match=r"made-up: answer differs by 0\.0001 in a range of 2"):
        measure(work(sides.one, sides.values), setting)
    with pytest.raises(BenchmarkError, match=r"answer is \(3,\) as published and \(2,\) here"):
        measure(work(sides.quick, sides.one), setting)


def test_a_side_that_fails_is_told_with_its_traceback(setting: Setting) -> None:
    with pytest.raises(BenchmarkError, match=r"(?s)made-up, ours:.*broken.*FileNotFoundError: no such clips"):
        measure(work(sides.broken, sides.quick), setting)


def test_table_and_json() -> None:
    made = work(sides.one, sides.values, at_least=2, at_most=5)
    result = Result(made, Measured((0.1, 0.4, 0.2), 100.4), Measured((900.0,), 200.0))
    lines = table([result]).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "`made-up`: nothing",
        "15 min",
        "200 ms",
        "4.5e+03 x",
        "2 x or more, 5 s or less",
        "yes",
        "200 / 100",
        "all",
    ]
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert "GPU" not in lines[0]
    entry = json.loads(json.dumps(record([result], {"threads": 2})))
    assert entry["threads"] == 2
    (told,) = entry["works"]
    assert told["ratio"] == 4500
    assert told["ours"]["values"] == [0.1, 0.4, 0.2]
    assert told["ours"]["median"] == 0.2


def test_columns_of_a_gpu() -> None:
    side = Measured((1.0,), 1.0, gpu_percent=87.0, peak_share=0.25)
    head, _, row = table([Result(work(sides.one, sides.values), side, side)]).splitlines()
    assert head.endswith("| GPU use | share of matmul peak |")
    assert row.endswith("| 87 % / 87 % | 25 % / 25 % |")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2e-5, "20 µs"), (0.0123, "12.3 ms"), (45.678, "45.7 s"), (600, "10 min"), (36_000, "10 h")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert value(seconds, "s") == words
    assert value(52.34, "GMACs") == "52.3 GMACs"
