"""A finding: one line of what `litemkd doctor` says, with passwords and the user's name taken out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from litemkd.secrets import hide

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        subject: the part of the report it stands in.
        name: the thing.
        value: what was found, in words.
        state: `note` for what only some work needs, `wrong` for what will fail.
        would: what would do, where it is not fine.
    """

    subject: str
    name: str
    value: str
    state: State = "ok"
    would: str = ""


def plain(text: str) -> str:
    """A text as it may be shown to strangers: no password, and `~` for the home folder."""
    home = str(Path.home())
    return hide(text).replace(home, "~") if len(home) > 1 else hide(text)
