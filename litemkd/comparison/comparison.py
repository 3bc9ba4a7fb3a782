"""The comparison itself: what every table, file and picture is made of."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from litemkd.comparison.entries import Entry, LeftOut
from litemkd.comparison.gains import Gain, Gains
from litemkd.comparison.grouping import Column, Groups, Row
from litemkd.comparison.statistics import Figure, corrected, figure_of
from litemkd.evaluation.intervals import Interval
from litemkd.evaluation.studies import Training
from litemkd.runtime.progress import Bar


@dataclass(frozen=True)
class Cell:
    """What a row reaches in a column.

    Attributes:
        entries: the runs, by fold and seed.
        gains: of each run, None where it has none.
        gain: over the runs that have one; tested together with all others of the comparison.
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


READ = 50  # runs of a cell whose accuracies by class are read

# Accuracies by class of a run, by run id and number of shots; None where it has none.
Classes = Callable[[str, int], Sequence[Mapping[str, Any]] | None]


def _nothing(run_id: str, shot: int) -> None:
    return None


def compare(
    groups: Groups, gains: Gains, left_out: Sequence[LeftOut] = (), classes: Classes = _nothing
) -> Comparison:
    """Work out every figure.

    Args:
        groups: rows and columns.
        gains: of runs.
        left_out: runs that were left out before grouping.
        classes: accuracies by class, for intervals that count classes where there are no folds.
    """
    lines = []
    for row in Bar(groups.rows, desc="comparing", unit="row", delay=3, leave=False):
        cells = {column: _cell(cell, column.shot, gains, classes) for column, cell in row.cells.items()}
        lines.append(Line(row, cells, _cost(row.entries)))
    return Comparison(groups, tuple(_corrected(lines)), (*left_out, *groups.left_out))


def _cell(entries: Sequence[Entry], shot: int, gains: Gains, classes: Classes) -> Cell:
    found = tuple(gains.of(entry, shot) for entry in entries)
    # Folds count the classes themselves; files of hundreds of runs would take minutes to read from a server.
    unread = len({entry.fold for entry in entries}) > 1 or len(entries) > READ

    def by_class(run_id: str | None) -> dict[str, float]:
        rows = None if run_id is None or unread else classes(run_id, shot)
        return {str(row["class"]): row["accuracy"] for row in rows or () if row["accuracy"] is not None}

    mine = [by_class(entry.run_id) for entry in entries]

    def training(entry: Entry, value: Interval, known: Mapping[str, float]) -> Training:
        return Training(value, entry.fold, known)

    points = []
    for entry, gain, own in zip(entries, found, mine, strict=True):
        if gain is not None:
            other = by_class(gain.baseline)
            both = {name: value - other[name] for name, value in own.items() if name in other}
            points.append(training(entry, gain.points, both))
    accuracies = [training(entry, entry.accuracy[shot], own) for entry, own in zip(entries, mine, strict=True)]
    return Cell(tuple(entries), figure_of(accuracies), found, figure_of(points) if points else None)


def _corrected(lines: Sequence[Line]) -> list[Line]:
    """The lines with their gains tested together."""
    places = [(line, column) for line in lines for column, cell in line.cells.items() if cell.gain is not None]
    figures = corrected([gain for line, column in places if (gain := line.cells[column].gain) is not None])
    for (line, column), figure in zip(places, figures, strict=True):
        line.cells[column] = replace(line.cells[column], gain=figure)
    return list(lines)


def _cost(entries: Sequence[Entry]) -> dict[str, tuple[float, ...]]:
    names = dict.fromkeys(name for entry in entries for name in entry.cost)
    return {name: tuple(entry.cost[name] for entry in entries if name in entry.cost) for name in names}


def typical(values: Sequence[float]) -> float | None:
    """The median cost of a row's runs, which differ where it is a time; None of nothing."""
    return statistics.median(values) if values else None
