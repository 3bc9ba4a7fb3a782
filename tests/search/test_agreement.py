"""A study goes on as it was begun; what differs is told, each difference in words."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from litemkd.errors import ConfigError
from litemkd.search.agreement import agree
from litemkd.search.space import Space, read_space
from litemkd.search.study import open_study

BEGUN = """
loss.kd: {float: [0.05, 20], log: true}
loss.ce: {float: [0, 1]}
student.width: {int: [64, 512]}
student.head.name: {categorical: [trx, otam]}
student.head.width: {int: [64, 512], step: 64, when: {student.head.name: trx}}
data.jitter: {float: [0, 0.4]}
"""
END = "; give it a new name, or go on as it was begun"


def study_in(folder: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return open_study(str(folder / "journal"), "s", ["accuracy"], heartbeat=60)


def space_of(folder: Path, text: str) -> Space:
    (folder / "space.yaml").write_text(text)
    return read_space(folder / "space.yaml")


def terms(space: Space, seed: str = "0") -> dict[str, str]:
    return {"seed": seed, "--space": space.digest}


def refused(folder: Path, space: Space, seed: str = "0") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        agree(study_in(folder), terms(space, seed), space)
    assert all(one.startswith("--study: 's' was begun ") and one.endswith(END) for one in caught.value.problems)
    return [one.removeprefix("--study: 's' was begun ").removesuffix(END) for one in caught.value.problems]


def test_the_same_space_in_another_order_is_the_same(tmp_path: Path) -> None:
    space = space_of(tmp_path, BEGUN)
    agree(study_in(tmp_path), terms(space), space)
    turned = space_of(tmp_path, "\n".join(reversed(BEGUN.splitlines())))
    agree(study_in(tmp_path), terms(turned), turned)


def test_every_difference_of_a_space_is_told(tmp_path: Path) -> None:
    space = space_of(tmp_path, BEGUN)
    agree(study_in(tmp_path), terms(space), space)
    changed = space_of(
        tmp_path,
        "loss.kd: {float: [0.05000001, 20]}\n"
        "student.width: {int: [64, 512], log: true}\n"
        "student.head.name: {categorical: [trx, strm, otam]}\n"
        "student.head.width: {int: [64, 512], step: 64, when: {student.head.name: [trx, strm]}}\n"
        "student.head.smoothing: {float: [0.02, 0.5], when: {student.head.name: otam}}\n"
        "data.jitter: {float: [0, 0.4], when: {student.head.name: otam}}\n",
    )
    assert sorted(refused(tmp_path, changed, seed="3")) == sorted(
        [
            "with seed '0', now '3'",
            "with loss.kd searched as float 0.05 to 20, log, now as float 0.05000001 to 20",
            "with loss.ce in its space, float 0 to 1, now without it",
            "with student.width searched as int 64 to 512, now as int 64 to 512, log",
            "with student.head.name searched as one of trx | otam, now as one of trx | strm | otam",
            "with student.head.width searched when student.head.name = trx, now when student.head.name = trx "
            "or strm",
            "without student.head.smoothing in its space, now float 0.02 to 0.5 when student.head.name = otam",
            "with data.jitter searched always, now when student.head.name = otam",
        ]
    )


def test_values_that_only_look_the_same_differ(tmp_path: Path) -> None:
    space = space_of(tmp_path, "data.flip: {categorical: [true, false]}\nloss.kd: {categorical: [1, 2]}\n")
    agree(study_in(tmp_path), terms(space), space)
    other = space_of(tmp_path, "data.flip: {categorical: [false, true]}\nloss.kd: {float: [1, 2]}\n")
    assert refused(tmp_path, other) == [
        "with data.flip searched as one of true | false, now as one of false | true",
        "with loss.kd searched as one of 1 | 2, now as float 1 to 2",
    ]


def test_a_study_of_an_earlier_version_says_that_it_cannot_tell(tmp_path: Path) -> None:
    space = space_of(tmp_path, BEGUN)
    study_in(tmp_path).set_user_attr("terms", terms(space))  # all that was noted
    other = space_of(tmp_path, BEGUN.replace("[0, 1]", "[0, 2]"))
    (told,) = refused(tmp_path, other)
    assert told == (
        "with another search space, and by an earlier version of litemkd, which did not note what was in it: "
        "what differs cannot be told"
    )
    agree(study_in(tmp_path), terms(space), space)  # gone on with as it was begun: noted now
    assert refused(tmp_path, other) == ["with loss.ce searched as float 0 to 1, now as float 0 to 2"]
