"""What names of classes say."""

from __future__ import annotations

import pytest

from litemkd.data.class_words import class_words, words_of
from litemkd.errors import DataError


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("brush_hair", "brush hair"),
        ("ApplyEyeMakeup", "apply eye makeup"),
        ("a01_high_arm_wave", "high arm wave"),
        ("a07_draw_x", "draw x"),
        ("YoYo", "yo yo"),
        ("jump-rope 2", "jump rope 2"),
        ("Pushing something", "pushing something"),
        ("跳绳", "跳绳"),
        ("a01", ""),
        ("class_3", ""),
        ("class03", ""),
        ("Action 12", ""),
        ("174", ""),
        ("9f3ab2c1", ""),
        ("x", ""),
    ],
)
def test_words_of_names(name: str, words: str) -> None:
    assert words_of(name) == words


def test_words_are_of_names_or_given() -> None:
    assert class_words(["run", "a01"], {"a01": "wave"}) == {"run": "run", "a01": "wave"}
    assert class_words(["run", "walk"], {"run": "running fast"}) == {"run": "running fast", "walk": "walk"}
    assert class_words(["a01", "a02"], {}) is None


def test_mistakes() -> None:
    with pytest.raises(DataError, match=r"no words for a01 \(1 of 2 classes\)"):
        class_words(["run", "a01"], {})
    with pytest.raises(DataError, match=r"'rum' given.*did you mean `run`"):
        class_words(["run", "walk"], {"rum": "running"})
