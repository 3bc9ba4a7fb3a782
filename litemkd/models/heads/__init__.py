"""Few-shot heads, by name. Adding one: a file with a `Head`, and a line here."""

from __future__ import annotations

from collections.abc import Callable

from litemkd.models.heads.base import FRAME, PATCH, Code, Folded, Head, class_prototypes
from litemkd.models.heads.bimhm import BiMHM
from litemkd.models.heads.otam import OTAM
from litemkd.models.heads.prototype import Prototype
from litemkd.models.heads.strm import STRM
from litemkd.models.heads.trx import TRX

HEADS: dict[str, Callable[..., Head]] = {
    "trx": TRX,
    "strm": STRM,
    "otam": OTAM,
    "bimhm": BiMHM,
    "prototype": Prototype,
}

__all__ = [
    "FRAME",
    "HEADS",
    "OTAM",
    "PATCH",
    "STRM",
    "TRX",
    "BiMHM",
    "Code",
    "Folded",
    "Head",
    "Prototype",
    "class_prototypes",
]
