"""Clips made ahead of time are the clips made in time."""

import threading

import numpy as np
import pytest
import torch

from litemkd.data.packs.clips import Ahead, Augmentation, ClipSource
from litemkd.errors import DataError
from tests.helpers import split_of
from tests.training.test_objectives import FakePack

SPLIT = split_of([4, 4], "train")
CLIPS = ClipSource(FakePack(SPLIT), SPLIT, crop=32, device=torch.device("cpu"))


def test_what_is_expected_is_made_by_a_thread_and_once():
    made = []

    def make(numbers):
        made.append((threading.current_thread().name, tuple(numbers)))
        return sum(numbers)

    ahead = Ahead(make)
    ahead.expect(range(3))
    ahead.expect([0, 1, 2])
    assert ahead.take(range(3)) == 3
    assert ahead.take(range(3)) == 3  # not expected a second time: made now
    assert [numbers for _, numbers in made] == [(0, 1, 2)] * 2
    assert made[0][0].startswith("clips")
    assert made[1][0] == threading.current_thread().name


def test_what_is_not_taken_is_dropped():
    ahead = Ahead(sum)
    for start in range(50):
        ahead.expect(range(start, start + 2))
    assert len(ahead._coming) == 1
    assert ahead.take([49, 50]) == 99


def test_a_mistake_in_the_thread_is_told_where_it_is_taken():
    def make(numbers):
        raise DataError(f"no clip {numbers[0]}")

    ahead = Ahead(make)
    ahead.expect([7])
    with pytest.raises(DataError, match="no clip 7"):
        ahead.take([7])


@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_the_two_parts_of_an_augmentation_are_it(jitter):
    augmentation, videos = Augmentation(scale=(0.5, 1.0), jitter=jitter), np.array([3, 1, 6])
    ahead = Ahead(lambda numbers: CLIPS.cut(videos, augmentation, 0, numbers[0]))
    ahead.expect([5])
    found = CLIPS.finish(ahead.take([5]))
    assert torch.equal(found, CLIPS.augmented(videos, augmentation, 0, 5))
    assert not torch.equal(found, CLIPS.augmented(videos, augmentation, 0, 6))
    assert found[0].is_contiguous(memory_format=torch.channels_last)  # frames of one clip, without a copy
    assert ahead.take([5]).clips.dtype == torch.uint8
