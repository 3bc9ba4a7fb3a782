"""All works, in the order of the table."""

from __future__ import annotations

from benchmarks import evaluating, searching, tracking, training
from benchmarks.sizes import Sizes
from benchmarks.work import Work


def all_works(sizes: Sizes) -> dict[str, Work]:
    """The works by name."""
    listed = [*evaluating.works(sizes), *training.works(sizes), *tracking.works(sizes), *searching.works(sizes)]
    return {work.name: work for work in listed}
