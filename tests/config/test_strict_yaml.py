"""YAML as experiments and search spaces are read: what is written is read back, and nothing runs away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from litemkd.config import load_config
from litemkd.config.strict_yaml import as_yaml, read_mapping, read_yaml
from litemkd.errors import ConfigError
from litemkd.search.space import read_space

NUMBERS = ["1e-3", "-1E+3", "1e5", ".5e3", "1.e2", "0x1F", "1_0e1", "12:30", "true", "null", "~", "2001-01-01"]
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(NUMBERS)
)


@given(PLAIN | st.lists(PLAIN) | st.dictionaries(st.text(), PLAIN))
@example({"\x85": None})
@example(["a\u2028b", "\x0b", "\x1c"])
def test_what_is_written_is_read_back(value: object) -> None:
    text, problems = as_yaml(value), list[str]()
    assert len(text.splitlines()) < 2
    found = read_yaml(text, problems, "")
    assert found == value
    assert type(found) is type(value)
    assert problems == []


@pytest.mark.parametrize("text", NUMBERS[:5])
def test_every_usual_way_to_write_a_float(text: str) -> None:
    assert read_yaml(text, [], "") == float(text)


@pytest.mark.parametrize("text", ["e3", "1e", "1e-", ".e3", "0xe-3", "1e-3x", "conv4"])
def test_other_texts_stay_texts(text: str) -> None:
    assert read_yaml(text, [], "") == text


@pytest.mark.parametrize("read", [read_space, load_config])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: " + "[" * 3000, "nested too deeply, or in itself"),
        ("seed: 2001-99-99", "not readable as YAML: month must be in 1..12"),
        ("loss.kd: 1\nloss.kd: 2", "line 2: loss.kd: stands in line 1 already; once would do"),
        ("{a: 1, a: 2}", "line 1: a: stands in this line twice; once would do"),
        ("x: [{a: 1}, {b: 1,\n b: 2}]", "line 2: x.1.b: stands in line 1 already; once would do"),
    ],
)
def test_both_readers_tell_the_same(tmp_path: Path, read: object, text: str, told: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(path)  # type: ignore[operator]
    assert f"{path}: {told}" in caught.value.problems


def test_a_few_lines_that_merge_millions_of_keys_end_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(9)) + "}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 30)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    begun = time.monotonic()
    assert {len(value) for value in read_mapping(path, []).values()} == {9}
    assert time.monotonic() - begun < 5
