"""Experiment files and search spaces, found by name: the user's own first, then those that come with litemkd.

In a checkout those lie where people look for them, `experiments/` and `tuning/spaces/`; in an installed package
they travel inside it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from litemkd.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class NamedFiles:
    """A kind of file that has names.

    Attributes:
        what: one of them, in words.
        folder: where they lie, seen from the working directory or a checkout.
        inside: the folder's name inside an installed package.
        defaults: file names tried, in this order, when a name is that of a folder.
    """

    what: str
    folder: Path
    inside: str
    defaults: tuple[str, ...]

    def shipped(self) -> Path:
        """The folder of those that come with litemkd."""
        installed = _PACKAGE / self.inside
        return installed if installed.is_dir() else _PACKAGE.parent / self.folder

    def find(self, given: str | Path, start: Path | None = None) -> Path:
        """The file that a path or a name means: `mine.yaml`, `toy/smoke`, or `toy` for `toy/default.yaml`.

        A path that exists is always that path. A name is looked for in the folder of its kind under `start`
        (the working directory if None), then among those that come with litemkd.

        Raises:
            ConfigError: there is none; with the names that come near.
        """
        start = start or Path()
        path = start / given
        try:
            if path.is_file():
                return path
            for root in (start / self.folder, self.shipped()):
                for candidate in self._candidates(root, str(given)):
                    if candidate.is_file():
                        return candidate
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            raise ConfigError([f"{given}: {error.strerror}"]) from None
        wanted = Path(given).with_suffix("") if path.suffix in _SUFFIXES else Path(given)
        near = self.near(wanted.as_posix().removeprefix(f"{self.folder.as_posix()}/"))
        raise ConfigError(
            [f"{given}: no such file and no {self.what} of this name; there are: {', '.join(near)}"]
        )

    def names(self) -> list[str]:
        """Every name that can be given, the shortest one of each file."""
        found: set[str] = set()
        for root in (self.folder, self.shipped()):
            for path in root.rglob("*.yaml"):
                name = path.relative_to(root)
                is_default = name.parent != Path() and self.find_default(root / name.parent) == path
                found.add((name.parent if is_default else name.with_suffix("")).as_posix())
        return sorted(found)

    def near(self, name: str) -> list[str]:
        """The names that come nearest to one, or all of them when none does."""
        names = self.names()
        return difflib.get_close_matches(name, names, n=4, cutoff=0.5) or names

    def find_default(self, folder: Path) -> Path | None:
        """The file that the name of a folder means."""
        return next((folder / name for name in self.defaults if (folder / name).is_file()), None)

    def _candidates(self, root: Path, name: str) -> Iterator[Path]:
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            return
        yield root / name if Path(name).suffix in _SUFFIXES else root / f"{name}.yaml"
        if (default := self.find_default(root / name)) is not None:
            yield default


EXPERIMENTS = NamedFiles("experiment", Path("experiments"), "experiments", ("default.yaml", "resnet18.yaml"))
SPACES = NamedFiles("search space", Path("tuning/spaces"), "spaces", ())
