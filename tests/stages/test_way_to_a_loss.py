"""From a command to the value of a loss's term it is six files at most, so that somebody can read them all."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import litemkd
from litemkd.losses import TERMS
from tests.job import Job

PACKAGE = Path(litemkd.__file__).parent
MOST = 6


class ReachedError(Exception):
    """The term was called; nothing more needs to be trained."""


@pytest.mark.parametrize(("words", "term"), [(("student",), "ce"), (("distill", "--no-baseline"), "kd")])
def test_few_files_lie_between_a_command_and_a_term(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], term: str
) -> None:
    (of_term,) = [one for one in TERMS if one.name == term]
    way: list[str] = [inspect.getfile(of_term)]

    def value(self: object, lesson: object) -> None:
        frames = inspect.stack(context=0)[1:]
        files = [frame.filename for frame in frames]
        begin = next(place for place, frame in enumerate(frames) if frame.function == words[0])
        way.extend(file for file in files[: begin + 1] if Path(file).is_relative_to(PACKAGE))
        raise ReachedError

    monkeypatch.setattr(of_term, "value", value)
    result = job.home.copy(tmp_path).run(*words)
    assert isinstance(result.exception, ReachedError), result.output
    found = list(dict.fromkeys(str(Path(file).relative_to(PACKAGE)) for file in reversed(way)))
    assert found[0] == "commands/training.py"
    assert len(found) <= MOST, found
