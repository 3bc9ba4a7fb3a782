"""The terms that come with litemkd, one a file. A file in this folder is all that a new one takes."""

from __future__ import annotations

import sys

from litemkd.extending.outside import classes_in
from litemkd.losses.term import Term

TERMS: tuple[type[Term], ...] = tuple(
    sorted(classes_in(sys.modules[__name__], Term), key=lambda one: (one.place, one.name))
)
