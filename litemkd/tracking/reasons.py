"""Why a store refused, or cannot be reached, in one line: found among the lines that libraries make of it."""

from __future__ import annotations

import re

from litemkd.secrets import hide

LONGEST = 300  # characters
_NOISE = re.compile(
    r"\(raised as a result of Query-invoked autoflush;[^)]*\)"  # SQLAlchemy, before what the data base says
    r"|\((?:\w+\.)+\w*(?:Error|Exception|Violation|Warning)\)"  # the same: (sqlite3.OperationalError)
    r"|^\s*\[(?:SQL|parameters): .*$|^\s*\(Background on this error at: .*$",
    re.MULTILINE,
)


def one_line(error: BaseException) -> str:
    """What went wrong, in one line and without passwords; the name of its kind where it has no words."""
    lines = (line.strip() for line in hide(_NOISE.sub("", str(error))).splitlines())
    words = next((" ".join(line.split()) for line in lines if line), type(error).__name__)
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"
