"""Classes that others wrote: by module and class, or by the name under which a package offers them."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


_HERE = ContextVar("whether modules are looked for in the working directory", default=True)


@contextmanager
def named_by_others() -> Iterator[None]:
    """Modules are looked for where Python looks alone: a model may be a stranger's, and the folder with it."""
    token = _HERE.set(False)
    try:
        yield
    finally:
        _HERE.reset(token)


@dataclass(frozen=True)
class Wanted:
    """What a class has to be.

    Attributes:
        what: in a word, such as `term`.
        base: what it must be a subclass of.
        called: that class, as a message names it.
        group: of entry points, under which packages offer such classes.
        example: of `module:Class`.
        ours: those that come with litemkd, as `module:Class` by name.
    """

    what: str
    base: type
    called: str
    group: str
    example: str
    ours: Mapping[str, str] = field(default_factory=dict)

    def find(self, use: str) -> type:
        """The class that `use` names: `module:Class`, a name of `ours`, or one of an entry point of the group.

        A module is looked for where Python looks and, but for what models name, in the working directory. Its
        code is run.

        Raises:
            ValueError: what is wrong with it, and what would do.
        """
        module, colon, name = self.ours.get(use, use).partition(":")
        if colon and use not in self.ours and not is_path(use):
            raise ValueError(f"module:Class would do, such as {self.example}")
        found = self._of_module(module, name) if colon else self._of_entry_point(use)
        if not (isinstance(found, type) and issubclass(found, self.base)):
            told = found.__name__ if isinstance(found, type) else type(found).__name__
            raise ValueError(f"that is a {told}; a subclass of {self.called} would do")
        return found

    def _of_module(self, module: str, name: str) -> object:
        here = f"in {Path.cwd()} or " if _HERE.get() else ""
        if here and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        importlib.invalidate_caches()
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise ValueError(f"{module} cannot be imported: {error}") from error
            raise ValueError(
                f"no module {module} {here}where Python looks (PYTHONPATH, installed packages)"
            ) from None
        except Exception as error:
            raise ValueError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
        if not hasattr(found, name):
            inside = [key for key, one in vars(found).items() if self._fits(one)]
            raise ValueError(f"no {name} in {module}; {near(name, inside)}")
        return getattr(found, name)

    def _fits(self, one: object) -> bool:
        return isinstance(one, type) and issubclass(one, self.base) and one is not self.base

    def _of_entry_point(self, name: str) -> object:
        known = offered(self.group)
        if name not in known:
            would = near(name, [*self.ours, *known]) if known or self.ours else "module:Class would do"
            raise ValueError(f"no installed package offers a {self.what} of that name; {would}")
        try:
            return known[name].load()
        except Exception as error:
            raise ValueError(
                f"{known[name].value}, which a package offers under that name, cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error


def classes_in(package: ModuleType, base: type[T]) -> Iterator[type[T]]:
    """The subclasses of `base` that the files of a package define."""
    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, base) and one.__module__ == module.__name__:
                yield one


def is_path(use: str) -> bool:
    """Whether it has the form `module:Class`."""
    module, colon, name = use.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), name))


def is_offered(name: str, group: str) -> bool:
    """Whether an installed package offers something by this name in a group of entry points."""
    return name in offered(group)


def near(name: str, known: Iterable[str]) -> str:
    """What to say beside a name that there is not: the nearest of those that there are, or all of them."""
    names = list(known)
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean `{found[0]}`?" if found else f"known: {', '.join(names) or 'none'}"


def offered(group: str) -> dict[str, EntryPoint]:
    """What installed packages offer in a group of entry points, by name."""
    return {one.name: one for one in entry_points(group=group)}
