"""Mistakes in a search space: each with file, key, what was given and what would do; all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from litemkd.errors import ConfigError
from litemkd.search.space import read_space
from tests.search.test_space import problems, space_of


@pytest.mark.parametrize(
    ("line", "told"),
    [
        # keys
        ("loss.temprature: {float: [1, 2]}", "no such key; did you mean `loss.temperature`?"),
        ("temperature: {float: [1, 2]}", "no such key; did you mean `loss.temperature`?"),
        ("qqqqqqqq: {float: [1, 2]}", "no such key; docs/config.md lists all"),
        ("3: {float: [1, 2]}", "no such key"),
        ("student.head: {float: [1, 2]}", "a section, not a setting; student.head.name would do"),
        ("seed: {int: [0, 9]}", "a search does not change it: a seed is no setting"),
        ("evaluation.val_episodes: {int: [1, 9]}", "a search does not change it: trials"),
        ("teacher.train.lr: {float: [1, 2]}", "a search does not change it: all trials learn"),
        ("data.dataset: {categorical: [a, b]}", "a search does not change it: all trials see"),
        ("data.derive.flow: {categorical: [dis]}", "a search does not change it"),
        ("episode.way: {int: [4, 8]}", "a search does not change it: val and test episodes"),
        ("device: {categorical: [cpu]}", "a search does not change it: it is the same for all trials"),
        # ranges
        ("loss.kd: 3", "3 given; {float: [low, high]}, {int: [low, high]} or"),
        ("loss.kd: {}", "nothing given; one of {float"),
        ("loss.kd: {flaot: [1, 2]}", "flaot given; did you mean `float`?"),
        ("loss.kd: {float: [1, 2], int: [1, 2]}", "float and int given; one of"),
        ("loss.kd: {float: [1, 2], lgo: true}", "lgo: no such field of float; float, log, step, when would"),
        ("loss.kd: {categorical: [1, 2], log: true}", "log: no such field of categorical"),
        ("loss.kd: {float: 3}", "float: 3 given; two numbers, [low, high], would do"),
        ("loss.kd: {float: [1, 2, 3]}", "float: [1, 2, 3] given; two numbers"),
        ("loss.kd: {float: [1, '2']}", "float: '2' given; a number would do"),
        ("loss.kd: {float: [1, .inf]}", "float: .inf given; a number would do"),
        ("loss.kd: {float: [true, 2]}", "float: true given; a number would do"),
        ("loss.kd: {float: [3, 2]}", "float: [3, 2] given; the smaller number must come first"),
        ("loss.kd: {float: [0, 2], log: true}", "log: true given with low = 0; low above 0, or log: false"),
        ("loss.kd: {float: [1, 2], log: 1}", "log: 1 given; true or false would do"),
        ("loss.kd: {float: [1, 2], step: 0}", "step: 0 given; a number above 0 would do"),
        ("loss.kd: {float: [1, 2], step: 0.5, log: true}", "step: 0.5 given with log: true; one of"),
        ("loss.kd: {float: [0, 1], step: 0.3}", "step: 0.3 given, which does not lead from 0 to 1; high = 0.9"),
        ("loss.kd: {float: [0, 1], step: 1e-40}", "step: 1e-40 given, too small for 0 to 1"),
        ("student.width: {int: [64, 100], step: 64}", "step: 64 given, which does not lead from 64"),
        ("student.width: {int: [1, 2.5]}", "int: 2.5 given; a whole number would do"),
        ("student.width: {int: [4, 8], step: 0.5}", "step: 0.5 given; a whole number above 0"),
        ("loss.kd: {categorical: []}", "categorical: [] given; a list of at least one value would do"),
        ("loss.kd: {categorical: 3}", "categorical: 3 given; a list of at least one"),
        ("loss.kd: {categorical: [1, 2, 1.0]}", "categorical: 1.0 given twice; once would do"),
        ("student.head.tuples: {categorical: [[2], [2]]}", "categorical: [2] given twice"),
        ("loss.kd: {categorical: [{a: 1}]}", "categorical: {a: 1} given; text, a number"),
        ("loss.kd: {categorical: [2026-01-01]}", "categorical: 2026-01-01 given; text, a number"),
        # what the configuration refuses
        ("loss.temperature: {float: [0, 4]}", "0.0 given; input should be greater than 0"),
        ("student.head.dropout: {float: [0, 1]}", "1.0 given; input should be less than 1"),
        ("student.branches: {int: [1, 3]}", "3 given; input should be 1 or 2"),
        ("student.width: {float: [1, 64]}", "given; input should be a valid integer"),
        ("student.head.name: {categorical: [trx, otma]}", "otma given; no such head; did you mean"),
        ("student.width: {categorical: [true, 64]}", "true given, which is read as 1; that would do"),
        ("data.flip: {categorical: [0, 1]}", "0 given, which is read as false"),
        ("loss.kd: {categorical: ['1e-3', 1]}", "which is read as 0.001; that would do"),
        # conditions
        ("loss.kd: {float: [1, 2], when: 3}", "when: 3 given; {key: value} or {key: [values]} would do"),
        ("loss.kd: {float: [1, 2], when: {}}", "when: {} given"),
        ("loss.kd: {float: [1, 2], when: {loss.cee: 3}}", "when: loss.cee: not in this space; student.head.n"),
        ("loss.kd: {float: [1, 2], when: {loss.ce: 3}}", "when: loss.ce: a range of numbers; a categorical"),
        ("loss.kd: {float: [1, 2], when: {student.head.name: [trx, x]}}", "x given; trx | otam would do"),
        ("loss.kd: {float: [1, 2], when: {student.head.name: []}}", "an empty list given; trx | otam would do"),
        ("loss.preset: {categorical: [d2m], when: {loss.preset: d2m}}", "loss.preset depends on loss.preset"),
    ],
)
def test_each_mistake_in_one_line(tmp_path: Path, line: str, told: str) -> None:
    text = f"loss.ce: {{float: [0, 1]}}\nstudent.head.name: {{categorical: [trx, otam]}}\n{line}\n"
    if line.startswith("student.head.name"):
        text = f"{line}\n"
    found = problems(tmp_path, text)
    if "{float: [1, 64]}" not in line and "data.flip" not in line:
        assert len(found) == 1, found
    key = line.split(":")[0]
    assert all(one.startswith(f"{tmp_path / 'space.yaml'}: {key}: ") and "\n" not in one for one in found)
    assert told in found[0]


def test_a_circle_of_conditions_is_told_whole(tmp_path: Path) -> None:
    (told,) = problems(
        tmp_path,
        "student.head.name: {categorical: [trx, otam], when: {student.head.support: mean}}\n"
        "student.head.support: {categorical: [mean, each], when: {student.head.distance: cosine}}\n"
        "student.head.distance: {categorical: [cosine], when: {student.head.name: trx}}\n",
    )
    assert told.count("depends on") == 3
    assert told.endswith("one of them must stand alone")


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "loss.kd: {float: [2, 1]}\n"
        "loss.kdd: {flot: [1, 2], when: {nothing: 1}}\n"
        "seed: {int: [0, 1.5], log: maybe}\n"
        "loss.ce: {float: [-1, 1]}\n"
        "loss.ce: {float: [0, -1]}\n"
        "student.head.name: {categorical: [trx, trx2, trx3]}\n"
        "loss.support: {float: [0, 1], when: {student.head.name: otam, loss.kd: 3}}\n",
    )
    for part in (
        "line 5: loss.ce: stands in line 4 already; once would do",
        "loss.kd: float: [2, 1] given",
        "loss.kdd: no such key; did you mean",
        "loss.kdd: flot given; did you mean `float`?",
        "loss.kdd: when: nothing: not in this space",
        "seed: a search does not change it",
        "seed: int: 1.5 given",
        "seed: log: maybe given",
        "loss.ce: float: [0, -1] given",
        "student.head.name: trx2 given",
        "student.head.name: trx3 given",
        "loss.support: when: student.head.name: otam given; trx | trx2 | trx3 would do",
    ):
        assert sum(one.startswith(f"{tmp_path / 'space.yaml'}: {part}") for one in found) == 1, (part, found)
    assert len(found) == 12


def test_files_that_are_no_space(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        read_space(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="it is a folder, not a file"):
        read_space(tmp_path)
    for text, told in (
        ("", "holds no settings; at least one"),
        ("- 1\n", "holds a list; a mapping"),
        ("{}\n", "holds no settings; at least one"),
        ("loss.kd: {float: [1, 2]}\nloss.ce: {float: [1,\nloss.x: 3\n", "sequence that begins in line 2"),
        ("a: 1\n---\nb: 2\n", "line 2: not readable as YAML: but found another document"),
        ("? [a]\n: 1\n", "line 1: not readable as YAML: found unhashable key"),
        ("a: !!python/name:os.system 1\n", "line 1: not readable as YAML: could not determine a constructor"),
        ("loss.kd: &a {float: [*a, 2]}\n", "float: "),
    ):
        (found,) = problems(tmp_path, text)
        assert found.startswith(f"{tmp_path / 'space.yaml'}: ")
        assert told in found
    (tmp_path / "space.yaml").write_bytes(b"a: \xe9\xff")
    with pytest.raises(ConfigError, match=r"space\.yaml: not readable as YAML"):
        read_space(tmp_path / "space.yaml")


def test_numbers_may_be_written_without_a_point_and_merged(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        "loss.kd: &wide {float: [1e-3, 1E+1], log: true}\nloss.ce: {<<: *wide, float: [1e-3, 1]}\n"
        "student.train.lr: {categorical: [1e-4, 2e-4]}\n",
    )
    assert [(one.key, str(one.range), one.when) for one in space.parameters] == [
        ("loss.kd", "0.001 to 10, log", {}),
        ("loss.ce", "0.001 to 1, log", {}),
        ("student.train.lr", "0.0001 | 0.0002", {}),
    ]
