"""The comparison itself: what every table, file and picture is made of."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from litemkd.comparison.entries import Entry, LeftOut
from litemkd.comparison.gains import Gain, Gains
from litemkd.comparison.grouping import Column, Groups, Row
from litemkd.comparison.statistics import Figure, figure_of


@dataclass(frozen=True)
class Cell:
    """What a row reaches in a column.

    Attributes:
        entries: the runs, by seed.
        gains: of each run, None where it has none.
        gain: over the runs that have one.
    """

    entries: tuple[Entry, ...]
    accuracy: Figure
    gains: tuple[Gain | None, ...]
    gain: Figure | None


@dataclass(frozen=True)
class Line:
    """A row with its figures.

    Attributes:
        cells: by column; a column in which nothing was measured is missing.
        cost: values of each kind of cost over the row's runs, by name.
    """

    row: Row
    cells: dict[Column, Cell]
    cost: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Comparison:
    """Lines under columns, and what was left out of them.

    Attributes:
        groups: how runs were laid out.
        left_out: runs that do not count, and why.
    """

    groups: Groups
    lines: tuple[Line, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Data sets and shots."""
        return self.groups.columns

    @property
    def entries(self) -> list[Entry]:
        """Every run that counts."""
        return [entry for line in self.lines for entry in line.row.entries]

    @property
    def main_shots(self) -> list[int]:
        """Shots of the episode that costs are of, the first of each run."""
        return sorted(
            {int(e.settings["evaluation.shots"]) for e in self.entries if e.settings["evaluation.shots"]}
        )


def compare(groups: Groups, gains: Gains, left_out: Sequence[LeftOut] = ()) -> Comparison:
    """Work out every figure; `left_out` are runs that were left out before grouping."""
    lines = [
        Line(
            row,
            {column: _cell(cell, column.shot, gains) for column, cell in row.cells.items()},
            _cost(row.entries),
        )
        for row in groups.rows
    ]
    return Comparison(groups, tuple(lines), (*left_out, *groups.left_out))


def _cell(entries: Sequence[Entry], shot: int, gains: Gains) -> Cell:
    found = tuple(gains.of(entry, shot) for entry in entries)
    points = [gain.points for gain in found if gain is not None]
    return Cell(
        tuple(entries),
        figure_of([entry.accuracy[shot] for entry in entries]),
        found,
        figure_of(points) if points else None,
    )


def _cost(entries: Sequence[Entry]) -> dict[str, tuple[float, ...]]:
    names = dict.fromkeys(name for entry in entries for name in entry.cost)
    return {name: tuple(entry.cost[name] for entry in entries if name in entry.cost) for name in names}


def typical(values: Sequence[float]) -> float | None:
    """The median cost of a row's runs, which differ where it is a time; None of nothing."""
    return statistics.median(values) if values else None
