"""Generators are functions of seed and purpose, and of nothing else."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litemkd.runtime.seeding import derive_seed, numpy_generator, seed_torch

PURPOSES = st.lists(st.one_of(st.text(max_size=6), st.integers(1, 2**40)), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**40), purpose=PURPOSES)
def test_same_purpose_same_numbers(seed, purpose):
    one, two = numpy_generator(seed, *purpose), numpy_generator(seed, *purpose)
    np.random.seed(0)  # noqa: NPY002  a global generator has no say
    one.random(3)
    fresh = numpy_generator(seed, *purpose)
    two.random(3)
    np.testing.assert_array_equal(one.random(5), two.random(5))
    np.testing.assert_array_equal(fresh.random(8)[3:], numpy_generator(seed, *purpose).random(8)[3:])
    assert derive_seed(seed, *purpose) == derive_seed(seed, *purpose)
    assert 0 <= derive_seed(seed, *purpose) < 2**63


def test_seed_words_order_and_numbers_all_matter():
    keys = [
        (0, "episode", 1),
        (1, "episode", 1),
        (0, "episode", 2),
        (0, "step", 1),
        (0, 1, "episode"),
        (0, "episode"),
        (0, "episode", 1, 1),
    ]
    assert len({derive_seed(*key) for key in keys}) == len(keys)
    assert len({tuple(numpy_generator(*key).integers(0, 2**32, 4)) for key in keys}) == len(keys)


def test_many_numbers_of_one_purpose_do_not_collide():
    assert len({derive_seed(3, "episode", number) for number in range(2000)}) == 2000


def test_another_process_draws_the_same():
    code = "from litemkd.runtime.seeding import derive_seed; print(derive_seed(5, 'episode', 'val', 17))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(told) == derive_seed(5, "episode", "val", 17)


def test_torch_follows_the_purpose():
    seed_torch(3, "step", 16)
    first = torch.rand(4)
    torch.rand(100)
    seed_torch(3, "step", 16)
    assert torch.equal(torch.rand(4), first)
    seed_torch(3, "step", 32)
    assert not torch.equal(torch.rand(4), first)


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        numpy_generator(-1, "episode")
