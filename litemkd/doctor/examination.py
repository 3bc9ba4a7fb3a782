"""The whole examination, subject by subject, and the text of its report."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from litemkd import __version__
from litemkd.doctor.finding import Finding, plain
from litemkd.doctor.machine import codecs, devices, disk
from litemkd.doctor.software import extras, versions
from litemkd.doctor.store import store

if TYPE_CHECKING:
    from litemkd.config import Config

_MARKS = {"ok": " ", "note": "-", "wrong": "!"}


def examine(config: Config, *, quick: bool = False) -> Iterator[Finding]:
    """Every finding, fit to be shown to strangers.

    Args:
        config: where data and checkpoints go, and which device is asked for.
        quick: leave out the self-test.
    """
    folders = (("data", config.data.root), ("checkpoints", config.output), ("this folder", Path()))
    looks: dict[str, Callable[[], Iterable[Finding]]] = {
        "versions": versions,
        "extras": extras,
        "devices": devices,
        "codecs": codecs,
        "store": store,
        "disk": lambda: disk(folders),
    }
    if not quick:
        looks["self-test"] = lambda: _self_test(config)
    for subject, look in looks.items():
        for one in _whatever_comes(subject, look):
            yield replace(one, value=plain(one.value), would=plain(one.would))


def report(findings: Iterable[Finding]) -> Iterator[str]:
    """The findings as lines of text, each subject below its heading; the last line says how it stands."""
    yield f"litemkd {__version__}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    subject, wrong = "", list[str]()
    for one in findings:
        if one.subject != subject:
            subject = one.subject
            yield f"\n{subject}"
        would = f"; {one.would}" if one.would else ""
        yield f"{_MARKS[one.state]} {one.name:24} {one.value}{would}"
        wrong += [f"{subject}: {one.name}"] * (one.state == "wrong")
    told = f"{len(wrong)} thing{'s are' if len(wrong) > 1 else ' is'} wrong (!): {', '.join(wrong)}"
    yield f"\n{told if wrong else 'nothing is wrong'}"


def _self_test(config: Config) -> Iterator[Finding]:
    from litemkd.doctor.self_test import self_test  # torch takes seconds to load: the first lines come at once
    from litemkd.stages.build import build_device

    yield from self_test(build_device(config))


def _whatever_comes(subject: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a look; what it raises is one of them, since the others are wanted all the same."""
    try:
        yield from look()
    except Exception as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        yield Finding(subject, "cannot be seen", words, "wrong")
