"""Progress: one status line in a terminal, a plain line in ten seconds at most in a log file."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable

import pytest

from litemkd.runtime import progress
from litemkd.runtime.progress import Bar, steps


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What a process has written since it was asked last to standard error, which is no terminal."""
    monkeypatch.setattr(progress._Told, "last", -progress.SPACING)
    monkeypatch.setattr(progress._Told, "waits", ())
    return lambda: capsys.readouterr().err


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of everything here, in seconds; a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(Bar, "monitor_interval", 0)  # no thread that tells at times of its own
    return now


def work(clock: list[float], count: int, seconds: float, label: str) -> None:
    with Bar(total=count, desc=label, unit="episode") as bar:
        for done in range(count):
            clock[0] += seconds
            bar.state(f"val {done}.00 %")
            bar.update()


def test_a_log_file_gets_a_line_in_ten_seconds_with_all_that_matters(
    log: Callable[[], str], clock: list[float]
) -> None:
    work(clock, 100, 0.7, "student")  # 70 seconds
    told = log()
    lines = told.splitlines()
    assert len(lines) == 7
    assert lines[0] == "student: 1 of 100 episodes, 01:09 left, val 0.00 %"
    assert lines[1] == "student: 16 of 100 episodes, 00:58 left, val 15.00 %"
    assert "\r" not in told
    work(clock, 20, 1.0, "next")  # how the first one ended waited for its time
    first, *_ = log().splitlines()
    assert first.startswith("student: 100 of 100 episodes in 01:10, val 99.00 % | next: ")


def test_all_work_together_tells_no_more_than_that(log: Callable[[], str], clock: list[float]) -> None:
    for number in range(40):
        work(clock, 5, 0.2, f"part {number}")  # 40 seconds in all
    assert len(log().splitlines()) == 4


def test_nothing_is_told_of_what_has_not_begun_or_is_not_to_be_told(log: Callable[[], str]) -> None:
    Bar(total=3).close()
    with Bar(total=3, disable=True) as bar:
        bar.update(3)
    assert log() == ""


def test_a_terminal_has_one_line_with_the_time_left_the_state_and_what_is_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with steps(["expert rgb", "teacher", "student"]):
        with Bar(total=4, desc="teacher, test", unit="episode", mininterval=0) as bar:
            for _ in range(4):
                bar.state("val 50.00 %")
                bar.update()
        last = Bar(total=1, desc="student", unit="episode")
        last.close()
    shown = screen.getvalue().split("\n")[0].split("\r")[-1]
    assert re.fullmatch(
        r"teacher, test: 100% \|[█#]+\| 4/4 episodes, 00:00 left, val 50.00 %; then student\s*", shown
    )
    assert last.then == ""
    assert Bar(total=1, desc="teacher", disable=True).then == ""  # of no steps, outside


def test_work_that_fails_before_its_first_step_tells_its_own_failure(
    log: Callable[[], str], clock: list[float]
) -> None:
    def broken() -> None:
        with Bar(total=3, desc="clips", unit="clip"):
            clock[0] += 60
            raise RuntimeError("a process was killed")

    with pytest.raises(RuntimeError, match="a process was killed"):
        broken()
    assert "clips: 0 of 3 clips\n" in log()
