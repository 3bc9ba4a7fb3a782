"""The Pareto front of cheap and accurate."""

from __future__ import annotations

from collections.abc import Sequence


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points (cost, accuracy) that no other one beats: none is as cheap and more accurate, or
    cheaper and as accurate. By cost, rising; of equal points the first.
    """
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1], place))
    front: list[int] = []
    for place in order:
        if not front or points[place][1] > points[front[-1]][1]:
            front.append(place)
    return front
