"""Few-shot heads, by name. Adding one: a file with a `Head`, and a line here."""

from __future__ import annotations

from collections.abc import Callable

from litemkd.models.heads.base import Head, class_prototypes
from litemkd.models.heads.trx import TRX

HEADS: dict[str, Callable[..., Head]] = {"trx": TRX}

__all__ = ["HEADS", "TRX", "Head", "class_prototypes"]
