"""The comparison in words: titled tables with notes, the same for every format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from litemkd.comparison.comparison import Cell, Comparison, Line, typical
from litemkd.comparison.entries import LeftOut
from litemkd.comparison.grouping import NONE, Column
from litemkd.comparison.ledger import HEADER, Entry, ledger, notes
from litemkd.comparison.published import ORDER, PUBLISHED, QUOTED, Published
from litemkd.errors import TrackingError, some
from litemkd.report.tables import amount

COSTS = {
    "gmacs_per_episode": "GMACs/episode, as thop counts",
    "gmacs_per_episode_plain": "GMACs, published form",
    "gflops_per_episode": "GFLOPs/episode, exact",
    "params_m": "parameters, M",
    "latency_ms_per_video": "latency, ms/video",
    "joules_per_clip": "energy, J/clip",
    "joules_per_clip_estimated": "energy by estimate, J/clip",
    "megabytes": "file, MB",
    "ms_per_clip_1_thread": "ms/clip, one thread",
    "ms_per_clip": "ms/clip, all threads",
    "ms_per_query_1_thread": "ms/query, one thread",
    "ms_per_query": "ms/query, all threads",
    "peak_memory_mb": "peak memory, MB",
    "first_answer_s": "first answer, s",
    "ece": "calibration error, %",
    "train_episodes_per_second": "training, episodes/s",
    "gpu_busy_percent": "GPU busy in training, %",
    "waiting_for_data_percent": "training waiting for data, %",
}
INTERVALS = (
    "± is half the width of a 95 % interval; the number of trainings stands in brackets, of folds as folds x "
    "seeds. Of several folds it counts classes, seeds and episodes: Student's t over the folds' means. Of one "
    "division with several seeds it does so by a mixed model of seeds and classes, crossed (by Student's t "
    "over seeds alone where no accuracies by class were kept). Of one seed it is over its classes, and says "
    "nothing of other seeds. `episodes only` is of these very trainings, 1.96 s / sqrt(n) over their test "
    "episodes, and says nothing of others."
)
GAINS = (
    "gain: distilled minus labels only of the same seed, fold and settings, paired on the same test episodes, "
    "in points; * where p < 0.05 after Holm's correction for all gains of the table. Intervals are not "
    "corrected."
)
NEEDED = (
    "Worked out of how these trainings differ, which few of them say little of; for an interval of ± 1 point."
)
JOULES = (
    "Energy: all that processor or GPU drew while clips went through one after another, idle power and other "
    "work included. An estimate is of load and a constant, and is held against no count."
)
POOLED = "Rows hold all runs with the same keys, whatever else differs; the number in brackets counts runs."


@dataclass(frozen=True)
class Sheet:
    """A table with a title and notes below it.

    Attributes:
        left: so many columns are words, and stand to the left.
        quoted: the figures are others', and must be seen to be.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    left: int = 1
    quoted: bool = False


def sheets_of(
    comparison: Comparison, *, shape: str = "rows", published: bool = False, pooled: bool = False
) -> list[Sheet]:
    """All tables: the comparison, the published figures if asked for, and what was left out.

    Raises:
        TrackingError: the published shape is asked for without `distilled` among the grouping keys.
    """
    found = _published_shape(comparison) if shape == "published" else [_rows(comparison)]
    notes = _notes(comparison, costs=shape == "rows", pooled=pooled)
    found[-1] = replace(found[-1], notes=notes)
    if shape == "rows" and (more := _needed(comparison)) is not None:
        found.append(more)
    if published:
        found.append(_quoted_shape() if shape == "published" else _quoted_rows())
        if (entries := ledger(comparison)) and shape == "rows":
            found.append(ledger_sheet(entries))
    if comparison.left_out:
        found.append(left_out_sheet(comparison.left_out))
    return found


def cost_names(comparison: Comparison) -> dict[str, str]:
    """The kinds of cost that some run recorded, with their titles; energy where it was measured."""
    there = {name for line in comparison.lines for name in line.cost}
    energy = {name: name.replace("_", " ") for name in sorted(there) if name.startswith("energy")}
    return {name: title for name, title in (COSTS | energy).items() if name in there}


def _rows(comparison: Comparison) -> Sheet:
    by, lines, costs = comparison.groups.by, comparison.lines, cost_names(comparison)
    settings = any(line.row.settings for line in lines)
    gained = [c for c in comparison.columns if any(c in line.cells and line.cells[c].gain for line in lines)]
    header = [*by, *(["settings"] if settings else [])]
    for column in comparison.columns:
        header += [f"{column}, %", f"{column}, episodes only"]
        header += [f"gain, {column}", f"gain, {column}, episodes only"] if column in gained else []
    rows = []
    for line in lines:
        cells = [*line.row.keys, *([line.row.settings_in_one] if settings else [])]
        for column in comparison.columns:
            cell = line.cells.get(column)
            cells += [_accuracy(cell), cell.accuracy.episodes_words if cell else NONE]
            if column in gained:
                gain = cell.gain if cell else None
                cells += [gain.words(signed=True), gain.episodes_words] if gain else [NONE, NONE]
        rows.append((*cells, *(_amount(line.cost.get(name, ())) for name in costs)))
    title = "Test accuracy, gain and cost"
    return Sheet(title, (*header, *costs.values()), tuple(rows), left=len(by) + settings)


def _needed(comparison: Comparison) -> Sheet | None:
    """What more would tell gains of a point from none; None without gains."""
    rows = [
        (line.row.title, str(column), cell.gain.words(signed=True), cell.gain.needed)
        for line in comparison.lines
        for column, cell in line.cells.items()
        if cell.gain is not None
    ]
    header = ("row", "of", "gain", "what would be needed")
    return Sheet("What would be needed", header, tuple(rows), (NEEDED,), left=4) if rows else None


def _accuracy(cell: Cell | None) -> str:
    return cell.accuracy.words() if cell else NONE


def _amount(values: Sequence[float]) -> str:
    value = typical(values)
    return NONE if value is None else amount(value, 3 if value < 10 else 2)


def _notes(comparison: Comparison, *, costs: bool, pooled: bool) -> tuple[str, ...]:
    notes = [INTERVALS]
    cells = [cell for line in comparison.lines for cell in line.cells.values()]
    if costs and any(cell.gain for cell in cells):
        notes.append(GAINS)
    if pooled:
        notes.append(POOLED)
    if costs and comparison.main_shots:
        shots = " or ".join(map(str, comparison.main_shots))
        notes.append(
            f"Costs are of a {shots}-shot episode. GMACs as thop counts them are what papers print as GFLOPs; "
            "in published form nothing is folded. GFLOPs are exact, two for a multiply-add. Costs that differ "
            "from run to run are medians."
        )
        if any("ece" in line.cost for line in comparison.lines):
            notes.append(
                f"Calibration error: expected, of {shots}-shot test episodes with the temperature from val."
            )
        if any(name.startswith("joules") for line in comparison.lines for name in line.cost):
            notes.append(JOULES)
        devices = sorted({entry.record.tags.get("litemkd.device", NONE) for entry in comparison.entries})
        notes.append(f"Measured on: {some(devices)}.")
    for dataset, protocol in comparison.groups.protocols.items():
        notes.append(f"{dataset}: {', '.join(f'{words} {value}' for words, value in protocol.items())}.")
    return tuple(notes)


def ledger_sheet(entries: Sequence[Entry]) -> Sheet:
    """Published figures with own ones beside them."""
    rows = tuple(entry.words for entry in entries)
    return Sheet("Ledger: claimed, and re-run here", HEADER, rows, notes(), left=3)


def left_out_sheet(left_out: Sequence[LeftOut]) -> Sheet:
    """Runs that do not count, by reason."""
    reasons: dict[str, list[str]] = {}
    for one in left_out:
        reasons.setdefault(one.reason, []).append(f"{one.name} ({one.run_id[:8]})")
    most_first = sorted(reasons.items(), key=lambda pair: -len(pair[1]))
    rows = [(reason, str(len(runs)), some(runs, 3)) for reason, runs in most_first]
    count = f"{len(left_out)} run{'s' * (len(left_out) != 1)}"
    return Sheet(f"Left out: {count}", ("why", "runs", "which"), tuple(rows), left=1)


def _published_shape(comparison: Comparison) -> list[Sheet]:
    """One table a number of shots: a line a student, labels only beside distilled, data sets by slashes."""
    by = comparison.groups.by
    if "distilled" not in by:
        raise TrackingError("--shape published lays labels only beside distilled: it needs `distilled` in --by")
    place = by.index("distilled")
    lines = comparison.lines
    others = [i for i in range(len(by)) if i != place]
    shown = [i for i in others if i == others[0] or len({line.row.keys[i] for line in lines}) > 1]
    fixed = [f"{by[i]} {lines[0].row.keys[i]}" for i in others if i not in shown and lines]
    pairs = _pairs(lines, place)
    sheets = []
    for shot in dict.fromkeys(column.shot for column in comparison.columns):
        datasets = sorted({c.dataset for c in comparison.columns if c.shot == shot}, key=_published_order)
        columns = [Column(name, shot) for name in datasets]
        ways = sorted({comparison.groups.protocols[name]["ways"] for name in datasets})
        title = ", ".join([f"Accuracy, {' or '.join(ways)}-way {shot}-shot, per cent", *fixed])
        rows = []
        for labels, distilled in pairs:
            one = distilled or labels
            assert one is not None
            name = [one.row.keys[i] for i in shown]
            name[0] += "".join(f", {key}={value}" for key, value in one.row.settings.items())
            rows.append((*name, _joined(labels, columns), _joined(distilled, columns)))
        header = (*(("Student" if i == others[0] else by[i]) for i in shown), "labels only", "distilled")
        sheets.append(Sheet(f"{title} ({' / '.join(datasets)})", header, tuple(rows), left=len(shown)))
    return sheets or [Sheet("Accuracy, per cent", ("Student", "labels only", "distilled"), ())]


def _pairs(lines: Sequence[Line], place: int) -> list[tuple[Line | None, Line | None]]:
    """Each distilled line with that of labels only which it belongs to, and those that belong to none."""

    def fits(labels: Line, distilled: Line) -> bool:
        """Whether nothing that both rows name differs, but that one is distilled."""
        keys = zip(labels.row.keys, distilled.row.keys, strict=True)
        same = all(mine == theirs for i, (mine, theirs) in enumerate(keys) if i != place)
        settings = distilled.row.settings
        return same and all(settings.get(key, value) == value for key, value in labels.row.settings.items())

    labels = [line for line in lines if line.row.keys[place] != "yes"]
    found: list[tuple[Line | None, Line | None]] = [
        (next((one for one in labels if fits(one, line)), None), line)
        for line in lines
        if line.row.keys[place] == "yes"
    ]
    paired = [one for one, _ in found]
    return [*found, *((one, None) for one in labels if one not in paired)]


def _joined(line: Line | None, columns: Sequence[Column]) -> str:
    return NONE if line is None else " / ".join(_accuracy(line.cells.get(column)) for column in columns)


def _published_order(dataset: str) -> tuple[int, str]:
    return (ORDER.index(dataset) if dataset in ORDER else len(ORDER)), dataset


def _quoted_rows() -> Sheet:
    columns = sorted(
        {column for row in PUBLISHED for column in row.accuracy}, key=lambda c: (_published_order(c[0]), -c[1])
    )
    header = ("method", "backbone", "head", "distilled", *(f"{name} {shot}-shot, %" for name, shot in columns))
    rows = [
        (
            *(row.method, row.backbone, row.head, row.distilled),
            *(row.quote(column) for column in columns),
            NONE if row.gmacs is None else f"{row.gmacs:g}",
            row.source,
            row.trust,
        )
        for row in PUBLISHED
    ]
    header = (*header, "GMACs/episode, as thop counts", "source", "trust")
    return Sheet("Published figures, quoted", header, tuple(rows), (QUOTED,), left=4, quoted=True)


def _quoted_shape() -> Sheet:
    """The published table of students as it was printed."""
    datasets = ORDER[:3]
    by_backbone: dict[str, dict[str, Published]] = {}
    for row in PUBLISHED:
        if row.distilled in ("yes", "no"):
            by_backbone.setdefault(row.backbone, {})[row.distilled] = row
    rows = [
        (backbone, *(" / ".join(pair[kind].quote((name, 5)) for name in datasets) for kind in ("no", "yes")))
        for backbone, pair in by_backbone.items()
    ]
    title = f"Published figures, quoted: accuracy, 5-way 5-shot, per cent ({' / '.join(datasets)})"
    return Sheet(title, ("Student", "labels only", "Lite-MKD"), tuple(rows), (QUOTED,), quoted=True)
