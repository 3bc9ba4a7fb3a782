"""Explicit random generators, each a pure function of a seed and a purpose.

No module draws from a global generator: whoever needs randomness derives a generator from the run's seed and
words or numbers that say what it is for. The same purpose gives the same numbers in any process and any order,
so a run can be resumed or split over workers without carrying generator state about.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def _sequence(seed: int, purpose: tuple[str | int, ...]) -> np.random.SeedSequence:
    if seed < 0:
        raise ValueError(f"a seed is a non-negative number, not {seed}")
    # Hashed, because a SeedSequence pads with zeros: ("a",) and ("a", 0) would be the same. As plain integers,
    # because NumPy's print differently.
    parts = (int(seed), *(part if isinstance(part, str) else int(part) for part in purpose))
    words = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.SeedSequence(int.from_bytes(words, "big"))


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator for `purpose` under `seed` (both non-negative)."""
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose)))


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for `purpose`, for libraries that take an integer."""
    return int(_sequence(seed, purpose).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_torch(seed: int, *purpose: str | int) -> None:
    """Seed torch's default generators (weights at construction, dropout in a step) for `purpose`."""
    torch.manual_seed(derive_seed(seed, *purpose))
