"""Writes the tables of docs/results.md from runs: `python docs/results.py TABLE FOLDER …`.

TABLE is the name of a data set, and what else tells it from other tables of that set, as in "toy, 8 folds".
FOLDER is where the runs' `mlflow.db` lies. A table stands between `<!-- runs: TABLE -->` and `<!-- /runs -->`
and has what `litemkd compare` says of the checks without training, the teachers and the students.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PAGE = Path(__file__).with_suffix(".md")
MODELS = {"no": "labels only", "yes": "distilled"}
CHECK = "check:"
LEVEL = 0.05  # of a gain, after Holm's correction for all gains of the table


def rows_of(dataset: str, folder: Path) -> list[dict[str, str]]:
    """What is compared in a store: a row for each model and number of shots, checks and teachers first."""
    found = []
    for stage in ("evaluate", "teacher", "student"):
        words = ("compare", "--dataset", dataset, "--stage", stage, "--format", "csv", "--no-log")
        done = subprocess.run(
            [sys.executable, "-m", "litemkd", *words], cwd=folder, text=True, capture_output=True
        )
        if "holds no tested run" in done.stderr:
            continue
        done.check_returncode()
        rows = csv.DictReader(io.StringIO(done.stdout))
        found += [row for row in rows if stage != "evaluate" or row["backbone"].startswith(CHECK)]
    return found


def table(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """The lines of a table: a line for each model, its shots side by side."""
    models: dict[str, dict[str, Mapping[str, str]]] = {}
    for row in rows:
        models.setdefault(_name(row), {})[row["shot"]] = row
    shots = sorted({row["shot"] for row in rows}, key=int, reverse=True)
    heads = ["model", *(f"{shot}-shot, %|episodes only|gain|episodes only" for shot in shots), "GMACs"]
    yield f"| {' | '.join('|'.join(heads).split('|'))} |"
    yield f"|---|{'---|' * (4 * len(shots) + 1)}"
    for name, by_shot in models.items():
        cells = [cell for shot in shots for cell in _cells(by_shot.get(shot, {}))]
        cost = next((row.get("gmacs_per_episode") for row in by_shot.values()), "")
        yield f"| {' | '.join([name, *cells, f'{float(cost):.2f}' if cost else ''])} |"


def _name(row: Mapping[str, str]) -> str:
    if "teacher.modalities" in row:
        seen = ", ".join(re.findall(r"\w+", row["teacher.modalities"]))
        return f"teacher ({seen}), {row['teacher.head.name']}"
    if row["backbone"].startswith(CHECK):
        return f"`{row['backbone']}`, no training"
    words = row["backbone"], row["head"], MODELS[row["distilled"]], row["settings"]
    return ", ".join(word for word in words if word)


def _cells(row: Mapping[str, str]) -> list[str]:
    if not row:
        return [""] * 4
    folds, runs = int(row["folds"] or 1), int(row["seeds"])
    of = f"{folds} x {runs // folds}" if runs % folds == 0 else f"{runs} of {folds} folds"
    gain = row["gain_points"]
    star = r" \*" if gain and float(row["gain_p_holm"] or 1) < LEVEL else ""
    return [
        f"{_figure(row['accuracy_percent'], row['accuracy_half_width'])} ({of})",
        f"± {float(row['accuracy_episodes_half_width']):.2f}",
        f"{_figure(gain, row['gain_half_width'], '+')}{star}" if gain else "",
        f"± {float(row['gain_episodes_half_width']):.2f}" if gain else "",
    ]


def _figure(mean: str, half: str, sign: str = "") -> str:
    return f"{float(mean):{sign}.2f} ± {float(half):.2f}" if half else f"{float(mean):{sign}.2f}"


def main(words: Sequence[str]) -> None:
    """Put each table into the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name, folder in zip(words[::2], words[1::2], strict=True):
        marks = re.compile(rf"(<!-- runs: {re.escape(name)} -->\n).*?(<!-- /runs -->)", re.DOTALL)
        rows = rows_of(name.partition(",")[0], Path(folder))
        lines = "".join(f"{line}\n" for line in table(rows))
        page, count = marks.subn(lambda found, lines=lines: f"{found[1]}{lines}{found[2]}", page)
        if not count:
            sys.exit(f"{PAGE}: no place for a table of {name}; <!-- runs: {name} --> would do")
        print(f"written: {name}, {lines.count(chr(10)) - 2} rows")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
