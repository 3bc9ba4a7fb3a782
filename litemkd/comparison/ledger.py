"""The ledger: what was published, what own runs of the same protocol reached, and why others are missing."""

from __future__ import annotations

from dataclasses import dataclass

from litemkd.comparison.comparison import Cell, Comparison
from litemkd.comparison.grouping import NONE, Column
from litemkd.comparison.published import ORDER, PUBLISHED, WAYS, Published, facts

HEADER = ("method", "backbone", "of", "claimed, %", "trust", "re-run here, %", "difference", "note")
NO_RUN = "no run of this protocol in the store"
NO_VIDEOS = "not run here: without the videos"


@dataclass(frozen=True)
class Entry:
    """A published figure and what stands beside it.

    Attributes:
        row: where it was published.
        column: data set and shots.
        cell: of own runs with this backbone, head and teacher or none, None without any.
        missing: why there are none.
    """

    row: Published
    column: Column
    cell: Cell | None
    missing: str = NO_RUN

    @property
    def words(self) -> tuple[str, ...]:
        """Cells of a table, see `HEADER`; seeds stand in brackets behind the re-run."""
        row, cell = self.row, self.cell
        name = f"{row.method}{' †' if row.apart else ''}"
        if cell is None:
            found = (NONE, NONE, self.missing if row.run else f"not run here: {row.why}")
        else:
            off = cell.accuracy.mean - row.accuracy[self.column]
            found = (
                cell.accuracy.words(),
                f"{off:+.2f} ± {cell.accuracy.half:.2f}",
                row.differs and f"{row.differs}",
            )
        return (name, row.backbone, str(self.column), row.quote(self.column), row.trust, *found)


def ledger(comparison: Comparison | None = None) -> list[Entry]:
    """All published figures of the data sets that are compared; of all of them without a comparison."""
    datasets = ORDER if comparison is None else [column.dataset for column in comparison.columns]
    found = []
    for dataset in (name for name in ORDER if name in datasets):
        for row in PUBLISHED:
            for shot in (1, 5):
                if (dataset, shot) in row.accuracy:
                    column = Column(dataset, shot)
                    cells: list[Cell] = [] if comparison is None else _own(comparison, row, column)
                    missing = NO_VIDEOS if comparison is None else NO_RUN
                    found += [Entry(row, column, cell, missing) for cell in cells]
                    found += [] if cells else [Entry(row, column, None, missing)]
    return found


def notes() -> tuple[str, ...]:
    """What is said below the ledger."""
    trusts = "; ".join(f"{letter} {words}" for letter, words in facts()["trusts"].items())
    reruns = "; ".join(
        f"{one['method']}: {one['claimed']} claimed, {one['rerun']} ± {one['half']} of {one['seeds']} seeds"
        for one in facts()["reruns"]
    )
    return (
        "Quoted figures have no interval: that of the difference is the one of the re-run alone, which counts "
        "seeds, classes and episodes as the table above.",
        f"Trust: {trusts}.",
        f"† {facts()['apart']}",
        f"How far independent runs may be off: {reruns}.",
    )


def _own(comparison: Comparison, row: Published, column: Column) -> list[Cell]:
    """What own runs of a published row's protocol reached, a cell for each row of the comparison."""
    if comparison.groups.protocols[column.dataset]["ways"] != WAYS or row.head == NONE:
        return []
    wanted = (row.own_backbone, row.head, "no" if row.distilled == NONE else row.distilled)
    return [
        cell
        for line in comparison.lines
        if (cell := line.cells.get(column)) is not None
        and all(
            tuple(one.value(key) for key in ("backbone", "head", "distilled")) == wanted for one in cell.entries
        )
    ]
