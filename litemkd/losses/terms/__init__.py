"""The terms that come with litemkd, one a file. A file in this folder is all that a new one takes."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from litemkd.losses.term import Term


def _terms() -> Iterator[type[Term]]:
    for found in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{found.name}")
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, Term) and one.__module__ == module.__name__:
                yield one


TERMS: tuple[type[Term], ...] = tuple(sorted(_terms(), key=lambda one: (one.place, one.name)))
