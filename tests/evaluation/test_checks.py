"""Checks without training: their formula by a loop, and what they tell apart."""

import numpy as np
import pytest
import torch

from litemkd.data.episodes import EpisodeSampler
from litemkd.data.packs.arrays import ArraySource, build_array_pack
from litemkd.data.packs.clips import ClipSource
from litemkd.errors import LitemkdError
from litemkd.evaluation.accuracy import evaluate
from litemkd.evaluation.checks import AsTheyAre, check_classifier
from litemkd.modalities.registry import modality
from tests.helpers import MemoryPack, split_of

SPLIT = split_of([6, 6, 6], "test")
SAMPLER = EpisodeSampler(SPLIT, way=3, shot=2, queries=2, seed=0)
T, SIDE = 4, 48


def clips_of(movie):
    """Clips in memory that `movie` makes of a class and a generator."""
    rng = np.random.default_rng(0)
    frames = np.stack([movie(label, rng) for label in SPLIT.labels])
    return ClipSource(MemoryPack(SPLIT.videos, frames), SPLIT, crop=SIDE, device=torch.device("cpu"))


def moving(label, rng):
    """A bright bar that stands at a place of the class's own in each frame, on a ground of any brightness."""
    frames = np.full((T, SIDE, SIDE, 3), rng.integers(0, 150), np.uint8)
    for t in range(T):
        place = (12 * t * (label + 1)) % SIDE
        frames[t, :, place : place + 6] += 100
    return frames


def coloured(label, rng):
    """A still picture, bright in a third of the class's own, with noise."""
    frames = rng.integers(0, 40, (T, SIDE, SIDE, 3))
    frames[:, :, SIDE // 3 * label :][:, :, : SIDE // 3] += 100
    return frames.astype(np.uint8)


def accuracy(model, movie):
    return evaluate(check_classifier(model, clips_of(movie)), SAMPLER, range(100)).accuracy.mean


def test_motion_tells_what_moves_and_pixels_what_stands_still():
    assert accuracy("check:motion", moving) == 100
    assert accuracy("check:pixel", coloured) == 100
    assert accuracy("check:motion", coloured) < 70


def test_joints_are_compared_by_their_places_alone(tmp_path):
    rng = np.random.default_rng(0)
    source = tmp_path / "joints"
    files, person = {}, rng.normal(size=(20, 3))
    for label, video in zip(SPLIT.labels, SPLIT.videos, strict=True):
        body = person + rng.normal(size=(12, 20, 3)) / 20
        body[..., label] += np.linspace(0, 9, 12)[:, None]  # a class moves in a direction of its own
        path = source / f"{video}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.concatenate([body, rng.random((12, 20, 1))], -1).astype(np.float32))
        files[video] = (path, None)
    pack = build_array_pack(tmp_path, modality("joints"), files, T)
    clips = ArraySource(pack, SPLIT, taker=AsTheyAre((T, *pack.shape)), T=T, device=torch.device("cpu"))
    assert evaluate(check_classifier("check:joints", clips), SAMPLER, range(50)).accuracy.mean > 90


def test_a_check_that_there_is_not_names_those_that_there_are():
    with pytest.raises(LitemkdError, match=r"check:motoin: no such check; did you mean `motion`\?"):
        check_classifier("check:motoin", clips_of(moving))
