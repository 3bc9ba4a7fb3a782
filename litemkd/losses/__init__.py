"""D2M and its terms. To add a term: a file in `terms/`, or a class of your own that an experiment names.

Without torch until something is computed: the configuration is made of what the terms declare.
"""

from __future__ import annotations

# First, since a term's file may import these from here, wherever it lies.
from litemkd.losses.term import Around, Term, setting

# isort: split
from litemkd.losses.d2m import D2M, Terms
from litemkd.losses.terms import TERMS

LABELS = D2M.of(ce=1.0, ce_distill=1.0, kd=0.0, support=0.0)  # the loss of labels alone, in every branch

__all__ = ["D2M", "LABELS", "TERMS", "Around", "Term", "Terms", "setting"]
