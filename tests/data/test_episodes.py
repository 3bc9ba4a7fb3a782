"""Episodes: right counts, disjoint, consistent with the split, and a pure function of their number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litemkd.data.episodes import EpisodeSampler, fixed_episodes
from litemkd.errors import DataError
from litemkd.runtime.seeding import numpy_generator
from tests.helpers import split_of

FIELDS = ("number", "classes", "support", "support_labels", "query", "query_labels")


def sampler_of(counts=(9, 12, 10, 11, 9, 20, 9), name="train", way=5, shot=3, queries=2, seed=0):
    return EpisodeSampler(split_of(list(counts), name), way=way, shot=shot, queries=queries, seed=seed)


def same(one, two):
    return all(np.array_equal(getattr(one, field), getattr(two, field)) for field in FIELDS)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_episode_is_sound(data):
    way, shot, queries = (data.draw(st.integers(low, 4)) for low in (2, 1, 1))
    spare = data.draw(st.lists(st.integers(0, 3), min_size=way, max_size=way + 3))
    sampler = sampler_of([shot + queries + extra for extra in spare], way=way, shot=shot, queries=queries)
    numbers = data.draw(st.lists(st.integers(0, 10**9), min_size=1, max_size=4))
    episodes = sampler[numbers]
    split = sampler.split
    assert len(episodes) == len(numbers)
    assert episodes.way == way
    for i in range(len(numbers)):
        classes = episodes.classes[i]
        assert len(set(classes)) == way
        assert set(classes) <= set(range(len(split.classes)))
        for rows, labels, each in (
            (episodes.support[i], episodes.support_labels[i], shot),
            (episodes.query[i], episodes.query_labels[i], queries),
        ):
            assert len(rows) == len(set(rows)) == way * each
            assert np.bincount(labels, minlength=way).tolist() == [each] * way
            np.testing.assert_array_equal(split.labels[rows], classes[labels])
        assert not set(episodes.support[i]) & set(episodes.query[i])


@settings(max_examples=25, deadline=None)
@given(numbers=st.lists(st.integers(0, 10**6), min_size=1, max_size=6), seed=st.integers(0, 2**31))
def test_an_episode_is_a_function_of_its_number(numbers, seed):
    sampler = sampler_of(seed=seed)
    together = sampler[numbers]
    fresh = sampler_of(seed=seed)
    for place in reversed(range(len(numbers))):
        alone = fresh[numbers[place]]
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(alone, field)[0], getattr(together, field)[place])


def test_the_episodes_are_those_that_were_drawn_before():
    """By what NumPy's generator gives, one episode after the other, as they were first drawn."""
    sampler = sampler_of()
    episodes = sampler[range(300)]
    for place, number in enumerate(episodes.number):
        rng = numpy_generator(0, "episode", "train", 5, 3, 2, int(number))
        classes = rng.choice(7, 5, replace=False)
        members = [np.flatnonzero(sampler.split.labels == one) for one in classes]
        videos = np.stack([rng.choice(rows, 5, replace=False) for rows in members])
        support, query = rng.permutation(15), rng.permutation(10)
        np.testing.assert_array_equal(episodes.classes[place], classes)
        np.testing.assert_array_equal(episodes.support[place], videos[:, :3].ravel()[support])
        np.testing.assert_array_equal(episodes.query[place], videos[:, 3:].ravel()[query])
        np.testing.assert_array_equal(episodes.support_labels[place], np.arange(5).repeat(3)[support])
        np.testing.assert_array_equal(episodes.query_labels[place], np.arange(5).repeat(2)[query])


def test_fixed_episodes_are_drawn_once_for_all_models():
    kind = (5, 3, 2, 0)
    one, other = (fixed_episodes(split_of([9, 12, 10, 11, 9], "val"), *kind) for _ in range(2))
    assert one is other
    assert one[range(8)] is one[range(8)]
    assert fixed_episodes(split_of([9, 12, 10, 11, 8], "val"), *kind) is not one
    plain = EpisodeSampler(one.split, way=5, shot=3, queries=2, seed=0)
    assert same(one[range(2, 8)], plain[range(2, 8)])
    assert same(one[[7, 3]], plain[[7, 3]])
    assert same(one[3], plain[3])


def test_ranges_arrays_and_lists_give_the_same():
    sampler = sampler_of()
    assert same(sampler[range(3, 6)], sampler[[3, 4, 5]])
    assert same(sampler[np.arange(3, 6)], sampler[[3, 4, 5]])
    assert same(sampler[4], sampler[[4]])


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"name": "val"}, {"shot": 2, "queries": 3}, {"way": 4}], ids=lambda c: next(iter(c))
)
def test_seed_split_and_form_each_change_the_episodes(change):
    one, two = sampler_of()[range(20)], sampler_of(**change)[range(20)]
    assert not np.array_equal(one.classes[:, :4], two.classes[:, :4])


def test_episodes_differ_from_one_another_and_labels_are_mixed():
    episodes = sampler_of()[range(50)]
    assert len({tuple(row) for row in episodes.support}) == 50
    assert len({tuple(row) for row in episodes.support_labels}) > 45
    assert not any(np.array_equal(np.sort(row), row) for row in episodes.query_labels)


def test_classes_videos_and_labels_are_drawn_evenly():
    sampler = sampler_of(counts=(6,) * 5, way=2, shot=1, queries=1)
    episodes = sampler[range(3000)]
    shares = np.bincount(episodes.classes.ravel(), minlength=5) / 6000
    assert np.abs(shares - 0.2).max() < 0.025
    seen = np.bincount(episodes.support.ravel(), minlength=30) / 6000
    assert np.abs(seen - 1 / 30).max() < 0.012
    assert abs(episodes.support_labels[:, 0].mean() - 0.5) < 0.04


def test_exactly_enough_videos_use_them_all():
    sampler = sampler_of(counts=(5,) * 5, way=5, shot=3, queries=2)
    episodes = sampler[7]
    assert sorted([*episodes.support[0], *episodes.query[0]]) == list(range(25))


def test_compact_lists_each_video_once():
    episodes = sampler_of()[range(6)]
    videos, support, query = episodes.compact()
    assert len(videos) == len(set(videos)) < episodes.support.size + episodes.query.size
    np.testing.assert_array_equal(videos[support], episodes.support)
    np.testing.assert_array_equal(videos[query], episodes.query)


def test_a_split_that_is_too_small_is_refused():
    with pytest.raises(DataError, match="5-way episodes need 5"):
        sampler_of(counts=(9,) * 4)
    with pytest.raises(DataError, match=r"fewer than 5 videos .*class02 \(4\)"):
        sampler_of(counts=(9, 9, 4, 9, 9))
