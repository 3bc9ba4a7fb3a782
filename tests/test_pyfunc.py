"""What a served student is asked in another form is refused in words; whole numbers of any type are labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from litemkd.errors import EpisodeError
from litemkd.evaluation.recognition import Recogniser
from litemkd.models.backbones import Backbone
from litemkd.models.heads import OTAM
from litemkd.models.student import Student
from litemkd.pyfunc import Predictor

FRAMES, CROP = 2, 32
CLIPS = np.random.default_rng(0).integers(0, 256, (4, FRAMES, CROP, CROP, 3), dtype=np.uint8)
LABELS = np.array([1, 0, -1, -1])


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    student = Student(Backbone("conv4"), OTAM(8, frames=FRAMES), width=8).eval()
    return Predictor(Recogniser(student, frames=FRAMES, crop=CROP, short_side=CROP))


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64])
def test_labels_may_be_whole_numbers_of_any_type(predictor: Predictor, kind: type) -> None:
    wanted = predictor.predict({"frames": CLIPS, "labels": LABELS})
    assert np.array_equal(predictor.predict({"frames": CLIPS, "labels": LABELS.astype(kind)}), wanted)
    assert np.array_equal(predictor.predict({"frames": CLIPS, "labels": LABELS.tolist()}), wanted)


SHAPE = f"({FRAMES}, {CROP}, {CROP}, 3)"
WRONG: dict[str, tuple[Callable[[], Mapping[str, Any]], str]] = {
    "one clip": (
        lambda: {"frames": CLIPS[0], "labels": LABELS},
        f"frames: shape {SHAPE} of uint8 given; (V, 2, 32, 32, 3) would do: clips, frames, height, width, "
        "colours; or (V, 2) pictures in base64; frames[None] for one clip",
    ),
    "no clip": (
        lambda: {"frames": CLIPS[:0], "labels": LABELS[:0]},
        "frames: shape (0, 2, 32, 32, 3) of uint8",
    ),
    "a number": (
        lambda: {"frames": 3, "labels": LABELS},
        "frames: shape () of int64 given; (V, 2, 32, 32, 3) would",
    ),
    "lists of different lengths": (
        lambda: {"frames": [[1, 2], [3]], "labels": LABELS},
        "frames: setting an array element with a sequence.",
    ),
    "true and false": (
        lambda: {"frames": CLIPS > 9, "labels": LABELS},
        "frames: bool given; numbers, or pictures in base64, would do",
    ),
    "float labels": (
        lambda: {"frames": CLIPS, "labels": LABELS.astype(float)},
        "labels: shape (4,) of float64 given; (4,) whole numbers would do, one a clip",
    ),
    "labels with a batch": (
        lambda: {"frames": CLIPS, "labels": LABELS[None]},
        "labels: shape (1, 4) of int64 given; (4,) whole numbers would do",
    ),
    "labels of different lengths": (
        lambda: {"frames": CLIPS, "labels": [[1], [0, 1]]},
        "labels: setting an array element with a sequence.",
    ),
    "no videos": (
        lambda: {"videos": [], "labels": []},
        "videos: shape (0,) of float64 given; (V,) texts, each a",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_has_another_form_is_refused_in_words(predictor: Predictor, wrong: str) -> None:
    make, told = WRONG[wrong]
    with pytest.raises(EpisodeError) as refused:
        predictor.predict(make())
    assert str(refused.value).startswith(told)
    assert "\n" not in str(refused.value)
