"""compare: runs of the store side by side, as tables and pictures, and logged as a run of their own."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litemkd.comparison.classes import class_gains
from litemkd.comparison.comparison import Comparison, compare
from litemkd.comparison.entries import read_entries
from litemkd.comparison.formats import FORMATS, SUFFIXES, as_html
from litemkd.comparison.gains import Gains
from litemkd.comparison.grouping import DEFAULT_KEYS, group
from litemkd.comparison.readings import readings_of
from litemkd.comparison.records import as_csv, as_json, flat_rows
from litemkd.comparison.sheets import Sheet, sheets_of
from litemkd.errors import TrackingError, some
from litemkd.storage.files import write_text, write_whole
from litemkd.tracking import Run, RunOptions, RunRecord, read_array, read_runs, read_table, stage_run
from litemkd.tracking.tags import NOTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEVERAL = "comparisons"  # the experiment of what compares several data sets
CURVES = 6  # runs whose learning curves are drawn when none are chosen
PICTURES = {
    "accuracy_against_cost": "Accuracy against GMACs, with the Pareto front",
    "accuracy_against_milliseconds": "Accuracy against milliseconds a clip on one thread, with the front",
    "accuracy_against_megabytes": "Accuracy against megabytes, with the Pareto front",
    "per_class_gains": "Gain of each class by distillation",
    "learning_curves": "Learning curves",
    "response": "Val accuracy against temperature and weights of the loss",
}


@dataclass(frozen=True)
class Question:
    """What is compared, and how.

    Attributes:
        datasets: only these; all of the store when empty.
        condition: a further one, in MLflow's own words for filters.
        by: grouping keys: `backbone`, `head`, `distilled`, any tag, any parameter.
        stage: whose runs, a key of `KEYS`.
        shots: only these; all when empty.
        pool: put runs with the same keys in one row, whatever else differs.
        shape: `rows`, or `published` for the published table's own.
        published: add the published figures.
        runs: ids, or their beginnings, of the runs whose learning curves are drawn.
    """

    datasets: tuple[str, ...] = ()
    condition: str = ""
    by: tuple[str, ...] = DEFAULT_KEYS
    stage: str = "student"
    shots: tuple[int, ...] = ()
    pool: bool = False
    shape: str = "rows"
    published: bool = False
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The comparison with its tables.

    Attributes:
        question: what was asked.
        comparison: all figures.
        sheets: the tables in words.
    """

    question: Question
    comparison: Comparison
    sheets: list[Sheet]

    def render(self, form: str, pictures: Collection[str] = ()) -> str:
        """The tables as `table`, `markdown`, `csv`, `latex`, `html` (pictures beside it) or `json`."""
        if form == "html" and pictures:
            return as_html(self.sheets, {f"{name}.svg": PICTURES[name] for name in pictures})
        if form == "json":
            return as_json(self.comparison, self.question.published)
        if form == "csv":
            return as_csv(self.comparison, self.question.published)
        return FORMATS[form](self.sheets)


def compare_runs(question: Question) -> Answer:
    """Read the store and lay out what was asked for.

    Raises:
        TrackingError: the store cannot be read, holds no such run, or a key or the filter is not understood.
    """
    records = _read(question, question.stage, question.condition)
    entries, left = read_entries(records)
    if not entries:
        asked = f" of {', '.join(question.datasets)}" if question.datasets else ""
        why = f"; {len(left)} were left out, the first because: {left[0].reason}" if left else ""
        raise TrackingError(
            f"the tracking store holds no tested run{asked} of the stage {question.stage}{why}. "
            "`litemkd distill` makes some; --dataset, --filter and --stage choose"
        )
    by_id = {record.run_id: record for record in records}

    @functools.lru_cache(maxsize=256)
    def episodes(run_id: str, shot: int) -> np.ndarray | None:
        return read_array(by_id[run_id], f"episode_accuracy_{shot}shot.npy")

    @functools.lru_cache(maxsize=1024)
    def classes(run_id: str, shot: int) -> list[dict[str, Any]] | None:
        return read_table(by_id[run_id], f"per_class_{shot}shot.json")

    groups = group(entries, question.by, question.shots, question.pool)
    if not groups.rows:
        tested = sorted({shot for entry in entries for shot in entry.accuracy})
        wanted, there = (some([str(shot) for shot in shots]) for shots in (question.shots, tested))
        raise TrackingError(f"--shots {wanted}: no run was tested so; there are tests with {there}")
    gains = Gains(entries, _read(question, "distill"), episodes)
    comparison = compare(groups, gains, left, classes)
    sheets = sheets_of(comparison, shape=question.shape, published=question.published, pooled=question.pool)
    return Answer(question, comparison, sheets)


def _read(question: Question, stage: str, condition: str = "") -> list[RunRecord]:
    names: Sequence[str | None] = question.datasets or (None,)
    found = [run for name in names for run in read_runs(name, stage=stage, filter_string=condition)]
    return sorted(found, key=lambda run: -run.start_time)


def pictures_of(answer: Answer) -> dict[str, Figure]:
    """The pictures for which there is something to draw, by name.

    Raises:
        TrackingError: a chosen run is not among those that were compared.
    """
    from litemkd.comparison import pictures  # matplotlib, which tables alone need not wait for

    comparison, question = answer.comparison, answer.question
    found: dict[str, Figure | None] = {
        "accuracy_against_cost": pictures.accuracy_against_cost(comparison),
        "accuracy_against_milliseconds": pictures.accuracy_against_cost(comparison, "ms_per_clip_1_thread"),
        "accuracy_against_megabytes": pictures.accuracy_against_cost(comparison, "megabytes"),
        "per_class_gains": _per_class(comparison),
        "learning_curves": _curves(comparison, question.runs),
        "response": pictures.response(
            readings_of([*_read(question, "trial"), *(entry.record for entry in comparison.entries)])
        ),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def _per_class(comparison: Comparison) -> Figure | None:
    from litemkd.comparison import pictures

    records = {entry.run_id: entry.record for entry in comparison.entries}
    for column in comparison.columns:
        found = class_gains(
            comparison,
            column,
            lambda run_id, shot: (
                read_table(records[run_id], f"per_class_{shot}shot.json") if run_id in records else None
            ),
        )
        if found.gains:
            return pictures.per_class_gains(found.gains, f"Gain by distillation, {column}", found.note)
    return None


def _curves(comparison: Comparison, chosen: Sequence[str]) -> Figure | None:
    from litemkd.comparison import pictures

    entries = comparison.entries
    if chosen:
        picked = []
        for word in chosen:
            fits = [entry for entry in entries if word and entry.run_id.startswith(word)]
            if len(fits) != 1:
                raise TrackingError(f"--runs {word}: {len(fits)} of the runs compared begin so; one would do")
            picked += fits
    else:
        picked = [max(line.row.entries, key=lambda entry: entry.record.start_time) for line in comparison.lines]
        picked = picked[:CURVES]
    curves = {}
    for entry in picked:
        points = read_table(entry.record, "validations.json")
        if points:
            curves[f"{entry.dataset}: {entry.record.name} ({entry.run_id[:6]})"] = points
    return pictures.curves_of_runs(curves) if curves else None


def write_answer(answer: Answer, pictures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write tables in every format and pictures as PNG and SVG; returns their paths."""
    files = []
    for form, suffix in SUFFIXES.items():
        path = folder / f"comparison.{suffix}"
        write_text(path, answer.render(form, pictures))
        files.append(path)
    for name, figure in pictures.items():
        for suffix in ("png", "svg"):
            path = folder / f"{name}.{suffix}"
            write_whole(path, functools.partial(_draw, figure, suffix))
            files.append(path)
    return files


def _draw(figure: Figure, suffix: str, path: Path) -> None:
    figure.savefig(path, format=suffix, dpi=150, bbox_inches="tight")


def log_answer(answer: Answer, pictures: Mapping[str, Figure]) -> Run:
    """Log everything to a run of the stage `compare`."""
    question = answer.question
    datasets = sorted({column.dataset for column in answer.comparison.columns})
    with stage_run(
        "compare",
        dataset=datasets[0] if len(datasets) == 1 else SEVERAL,
        name=f"compare {', '.join(datasets)}",
        tags={"dataset": ",".join(datasets)},
        params={
            "compare.datasets": ",".join(datasets),
            "compare.filter": question.condition,
            "compare.by": ",".join(question.by),
            "compare.stage": question.stage,
            "compare.shots": ",".join(map(str, question.shots)),
            "compare.pool": question.pool,
            "compare.shape": question.shape,
            "compare.published": question.published,
        },
        options=RunOptions(system_metrics=False),
    ) as run:
        flat = flat_rows(answer.comparison, question.published)
        run.log_table(flat, "comparison_flat.json")
        for number, sheet in enumerate(answer.sheets):
            run.log_table(
                [dict(zip(sheet.header, row, strict=True)) for row in sheet.rows], f"table_{number + 1}.json"
            )
        for form, suffix in SUFFIXES.items():
            run.log_text(answer.render(form, pictures), f"comparison.{suffix}")
        for name, figure in pictures.items():
            for suffix in ("png", "svg"):
                run.log_figure(figure, f"{name}.{suffix}")
        comparison = answer.comparison
        run.log_metrics(
            {
                "compare/rows": float(len(comparison.lines)),
                "compare/runs": float(len(comparison.entries)),
                "compare/left_out": float(len(comparison.left_out)),
            },
            0,
        )
        run.set_tags({NOTE: FORMATS["markdown"](answer.sheets[:1])})
    return run
