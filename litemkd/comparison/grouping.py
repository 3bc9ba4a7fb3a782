"""Entries to rows and columns. Nothing unlike is averaged unless that is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from litemkd.comparison.entries import Entry, LeftOut
from litemkd.errors import TrackingError, some

DEFAULT_KEYS = ("backbone", "head", "distilled")
# What makes a row where nothing else is asked for, by the stage whose runs are compared.
KEYS = {
    "student": DEFAULT_KEYS,
    "evaluate": DEFAULT_KEYS,
    "export": (*DEFAULT_KEYS, "runtime", "precision"),
    "teacher": ("teacher.modalities", "teacher.head.name"),
}
NONE = "–"


class Column(NamedTuple):
    """What an accuracy is of. Its protocol is that of the data set."""

    dataset: str
    shot: int

    def __str__(self) -> str:
        return f"{self.dataset} {self.shot}-shot"


@dataclass(frozen=True)
class Row:
    """Runs of one configuration.

    Attributes:
        by: the grouping keys.
        keys: their values.
        settings: what else tells this row from others with the same keys, by setting.
        cells: the runs that count in each column, by fold and seed.
    """

    by: tuple[str, ...]
    keys: tuple[str, ...]
    settings: Mapping[str, str]
    cells: Mapping[Column, list[Entry]] = field(repr=False)

    @property
    def entries(self) -> list[Entry]:
        """All runs of the row, each once."""
        return list({entry.run_id: entry for cell in self.cells.values() for entry in cell}.values())

    @property
    def key_words(self) -> list[str]:
        """The keys as they can stand by themselves."""
        return [_in_words(key, value) for key, value in zip(self.by, self.keys, strict=True)]

    @property
    def setting_words(self) -> list[str]:
        """The settings likewise."""
        return [_in_words(key, value) for key, value in self.settings.items()]

    @property
    def settings_in_one(self) -> str:
        """The settings with their keys, in one cell of a table."""
        return ", ".join(f"{key}={value}" for key, value in self.settings.items())

    @property
    def title(self) -> str:
        """The row in words, such as `resnet18, trx, distilled`."""
        return ", ".join([*self.key_words, *self.setting_words])


@dataclass(frozen=True)
class Groups:
    """Rows and columns, and the runs that stand in neither.

    Attributes:
        by: the grouping keys.
        protocols: of the columns of each data set.
    """

    by: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    protocols: Mapping[str, Mapping[str, str]]
    left_out: tuple[LeftOut, ...]


def group(
    entries: Sequence[Entry],
    by: Sequence[str] = DEFAULT_KEYS,
    shots: Iterable[int] = (),
    pool: bool = False,
) -> Groups:
    """Lay runs out in rows and columns.

    Of each data set the protocol of most runs makes the columns (of equals, that of the newest run). Runs with
    the same keys and other settings become rows of their own, named by what differs; `pool` puts them in one.
    Of repeated runs (same settings, same seed) the newest counts.

    Args:
        entries: newest first.
        by: grouping keys, see `Entry.value`.
        shots: only these; all when empty.
        pool: a row is all runs with the same keys, whatever else differs.

    Raises:
        TrackingError: no run has one of the keys.
    """
    _check_keys(entries, by)
    protocols = {name: _main_protocol(entries, name) for name in dict.fromkeys(e.dataset for e in entries)}
    shared = [entry for entry in entries if entry.protocol == protocols[entry.dataset]]
    left = [
        LeftOut(entry.run_id, entry.record.name, _difference(entry, protocols[entry.dataset]))
        for entry in entries
        if entry.protocol != protocols[entry.dataset]
    ]
    wanted = set(shots)
    columns = sorted(
        {Column(e.dataset, shot) for e in shared for shot in e.accuracy if not wanted or shot in wanted},
        key=lambda column: (column.dataset, -column.shot),
    )
    by_keys: dict[tuple[str, ...], list[Entry]] = {}
    for entry in shared:
        by_keys.setdefault(tuple(_short(entry.value(key)) for key in by), []).append(entry)
    rows = []
    counted: set[str] = set()
    for keys in sorted(by_keys, key=lambda keys: [_order(value) for value in keys]):
        variants = [({}, by_keys[keys])] if pool else _variants(by_keys[keys], by)
        for settings, members in variants:
            cells = {column: cell for column in columns if (cell := _cell(members, column))}
            if cells:
                rows.append(Row(tuple(by), keys, settings, cells))
                counted |= {entry.run_id for entry in rows[-1].entries}
    for entry in shared:
        if entry.run_id not in counted:
            fits = any(Column(entry.dataset, shot) in columns for shot in entry.accuracy)
            newer = "repeated: a newer run has the same settings and seed"
            reason = newer if fits else "not tested with these shots"
            left.append(LeftOut(entry.run_id, entry.record.name, reason))
    return Groups(tuple(by), tuple(columns), tuple(rows), protocols, tuple(left))


def _check_keys(entries: Sequence[Entry], by: Sequence[str]) -> None:
    for key in by:
        if entries and all(entry.value(key) is None for entry in entries):
            tags, params = entries[0].record.tags, entries[0].record.params
            known = [*(tag.removeprefix("litemkd.") for tag in tags if "litemkd." in tag), *params]
            near = [name for name in known if key.split(".")[-1] in name] or known
            raise TrackingError(f"--by {key}: no run has such a tag or parameter; known: {some(near, 12)}")


def _main_protocol(entries: Sequence[Entry], dataset: str) -> Mapping[str, str]:
    mine = [entry.protocol for entry in entries if entry.dataset == dataset]
    counts = Counter(tuple(protocol.items()) for protocol in mine)
    return dict(counts.most_common(1)[0][0])  # of equals the first, which is the newest


def _difference(entry: Entry, protocol: Mapping[str, str]) -> str:
    pairs = [(words, value, protocol[words]) for words, value in entry.protocol.items()]
    others = ", ".join(f"{words} {value}, not {other}" for words, value, other in pairs if value != other)
    return f"other protocol than the columns of {entry.dataset}: {others}"


def _variants(members: Sequence[Entry], by: Sequence[str]) -> list[tuple[dict[str, str], list[Entry]]]:
    """Members by the settings in which those of one data set differ."""
    differing: dict[str, None] = {}
    for dataset in dict.fromkeys(entry.dataset for entry in members):
        differing |= dict.fromkeys(_differing([e for e in members if e.dataset == dataset]))
    keys = [key for key in differing if key not in by]
    found: dict[tuple[str | None, ...], list[Entry]] = {}
    for entry in members:
        found.setdefault(tuple(entry.settings.get(key) for key in keys), []).append(entry)
    order = sorted(found, key=lambda values: [_order(value or "") for value in values])
    return [
        (
            {key: _short(value) for key, value in zip(keys, values, strict=True) if value is not None},
            found[values],
        )
        for values in order
    ]


def _differing(members: Sequence[Entry]) -> list[str]:
    distinct = list({tuple(entry.settings.items()): entry.settings for entry in members}.values())
    if len(distinct) < 2:
        return []
    keys = dict.fromkeys(key for settings in distinct for key in settings)
    return [
        key
        for key in keys
        # Students on labels alone say nothing of the loss and the teacher; that is no difference of these.
        if len(
            {settings.get(key) for settings in distinct}
            - ({None} if key.startswith(("loss.", "teacher.")) else set())
        )
        > 1
    ]


def _in_words(key: str, value: str) -> str:
    if key == "distilled":
        return {"yes": "distilled", "no": "labels only"}.get(value, value)
    return f"{key}={value}" if "." in key else value


def _cell(members: Sequence[Entry], column: Column) -> list[Entry]:
    newest: dict[tuple[object, ...], Entry] = {}
    for entry in members:
        if entry.dataset == column.dataset and column.shot in entry.accuracy:
            newest.setdefault((entry.fold, entry.seed, *sorted(entry.settings.items())), entry)
    return sorted(newest.values(), key=lambda entry: (_order(entry.fold), _order(entry.seed)))


def _order(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), ""
    except ValueError:
        return 1, 0.0, value


def _short(value: str | None) -> str:
    """A value as it is shown: numbers of many digits with four."""
    if value is None or value == "":
        return NONE
    try:
        return f"{float(value):.4g}" if len(value) > 7 else value
    except ValueError:
        return value
