"""torch's deterministic mode, for the time of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch


@pytest.fixture
def deterministic_mode() -> Callable[[bool], AbstractContextManager[None]]:
    @contextlib.contextmanager
    def mode(on: bool) -> Iterator[None]:
        torch.use_deterministic_algorithms(on)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(False)

    return mode
