"""Few-shot heads, one a file. A file in this folder is all that a new one takes."""

from __future__ import annotations

import sys

from litemkd.extending.outside import Wanted, classes_in
from litemkd.models.heads.base import FRAME, PATCH, Code, Folded, Head, class_prototypes
from litemkd.models.heads.bimhm import BiMHM
from litemkd.models.heads.clip_fsar import ClipFSAR
from litemkd.models.heads.hyrsm import HyRSM
from litemkd.models.heads.molo import MoLo
from litemkd.models.heads.otam import OTAM
from litemkd.models.heads.prototype import Prototype
from litemkd.models.heads.strm import STRM
from litemkd.models.heads.team import TEAM
from litemkd.models.heads.trx import TRX

OWN_HEAD = Wanted("head", Head, "litemkd.models.heads.Head", "litemkd.heads", "my_heads:Nearest")
HEADS: dict[str, type[Head]] = {
    one.name: one
    for one in sorted(
        classes_in(sys.modules[__name__], Head),  # type: ignore[type-abstract]
        key=lambda one: (one.place, one.name),
    )
    if one.name
}


def find_head(name: str) -> type[Head]:
    """A head by its name, or one that others wrote by `module:Class` or by the name a package offers it under.

    Raises:
        ValueError: what is wrong with the name, and what would do.
    """
    return HEADS[name] if name in HEADS else OWN_HEAD.find(name)


__all__ = [
    "FRAME",
    "HEADS",
    "OTAM",
    "PATCH",
    "STRM",
    "TEAM",
    "TRX",
    "BiMHM",
    "ClipFSAR",
    "Code",
    "Folded",
    "Head",
    "HyRSM",
    "MoLo",
    "Prototype",
    "class_prototypes",
    "find_head",
]
