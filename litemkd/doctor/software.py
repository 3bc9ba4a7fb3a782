"""Versions: Python, litemkd, what it needs, and what its extras would bring."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from litemkd import __version__
from litemkd.doctor.finding import Finding
from litemkd.project import PROJECT

_NEEDLESS = "test"  # the extra of those who change litemkd
_ABOUT = Path(__file__).parents[2] / "pyproject.toml"  # of a checkout, where an older version may be installed


def versions() -> Iterator[Finding]:
    """Python, litemkd, and every package that it cannot do without."""
    where = f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    yield Finding("versions", "python", where)
    yield Finding("versions", PROJECT, f"{__version__} at {Path(__file__).parents[1]}")
    yield Finding("versions", "system", platform.platform())
    for one in _declared()[""]:
        found = _installed(one)
        if found is None:
            yield Finding("versions", one.name, "not installed", "wrong", f'pip install "{one}" would do')
        elif not one.specifier.contains(found, prereleases=True):
            yield Finding("versions", one.name, found, "wrong", f'pip install "{one}" would do')
        else:
            yield Finding("versions", one.name, found)


def extras() -> Iterator[Finding]:
    """Which extras are there, and what the others lack."""
    for extra, wanted in _declared().items():
        if extra in ("", _NEEDLESS):
            continue
        missing = [
            str(one)
            for one in wanted
            if (found := _installed(one)) is None or not one.specifier.contains(found, prereleases=True)
        ]
        if missing:
            words = f"missing: {', '.join(missing)}"
            yield Finding("extras", extra, words, "note", f"pip install 'litemkd[{extra}]' would do")
        else:
            yield Finding("extras", extra, "installed")


def _declared() -> dict[str, list[Requirement]]:
    """What litemkd asks for by extra; of "" what it needs in any case."""
    if _ABOUT.is_file():
        project = tomllib.loads(_ABOUT.read_text(encoding="utf-8"))["project"]
        given = {"": project["dependencies"], **project["optional-dependencies"]}
        return {extra: _without_own(map(Requirement, listed), given) for extra, listed in given.items()}
    about = importlib.metadata.metadata(PROJECT)
    wanted = [Requirement(one) for one in importlib.metadata.requires(PROJECT) or ()]
    found = {"": [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]}
    for extra in about.get_all("Provides-Extra") or ():
        more = [one for one in wanted if one.marker is not None and one.marker.evaluate({"extra": extra})]
        found[extra] = [_bare(one) for one in more if one not in found[""]]
    return found


def _without_own(listed: Iterator[Requirement], given: dict[str, list[str]]) -> list[Requirement]:
    """Extras of litemkd's own, as `litemkd[depth]`, replaced by what they ask for."""
    found: list[Requirement] = []
    for one in listed:
        if one.name == PROJECT:
            found += [Requirement(other) for extra in sorted(one.extras) for other in given[extra]]
        else:
            found.append(one)
    return found


def _bare(one: Requirement) -> Requirement:
    """A requirement without the words that say when it is one."""
    return Requirement(str(one).partition(";")[0])


def _installed(one: Requirement) -> str | None:
    try:
        return importlib.metadata.version(one.name)
    except importlib.metadata.PackageNotFoundError:
        return None
