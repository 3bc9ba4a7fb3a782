"""Error types: one for each kind of mistake a user can make and correct.

Every message names the file or key, what was found there, and what would do. The command line prints a
`LitemkdError` as one line without a traceback; anything else is a fault of the software and keeps its
traceback.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Sequence

from litemkd.secrets import hide


class LitemkdError(Exception):
    """A mistake in what the user gave: configuration, data, or files."""


class ConfigError(LitemkdError):
    """One or more mistakes in the configuration, all reported at once.

    Attributes:
        problems: one line a mistake, each naming the key, what was given, and what would do.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        noun = "mistake" if len(self.problems) == 1 else "mistakes"
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{len(self.problems)} {noun} in the configuration:{lines}")


class DataError(LitemkdError):
    """Data that is missing, unreadable, or of the wrong form."""


class CheckpointError(LitemkdError):
    """A checkpoint that is missing, damaged, or of another architecture."""


class BackboneError(LitemkdError):
    """A backbone that cannot be built as it was asked for.

    Attributes:
        setting: what of it is wrong: `name`, `weights`, `tune`, or `crop`.
        given: the value of that.
        would: what is the matter, and what would do.
    """

    def __init__(self, setting: str, given: str, would: str) -> None:
        self.setting, self.given, self.would = setting, given, would
        super().__init__(f"backbone {setting}: {given!r} given; {would}")


class ExportError(LitemkdError):
    """A student that cannot be written for another runtime, or an export that is not what it should be."""


class ResumeError(LitemkdError):
    """An interrupted run that this command cannot go on with."""


class StorageError(LitemkdError, OSError):
    """A disk that is full, beyond its quota, or cannot be written."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number


# What the system says when a disk takes nothing more, whoever writes.
FULL = (errno.ENOSPC, errno.EDQUOT)
STORAGE = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM)


def storage_words(error: OSError) -> str | None:
    """What a disk refused, with the path; None for an error that is not a matter of the disk."""
    if error.errno not in STORAGE:
        return None
    path = error.filename2 or error.filename
    if isinstance(path, int):  # an open file, which has no name here
        path = None
    where = f" {os.fsdecode(path)}" if path else ""
    if error.errno in FULL:
        words = f"no space left{' for' * bool(path)}{where} ({error.strerror}); make space and run it again"
        return f"{words}; a training goes on with --resume"
    return f"cannot read or write{where}: {error.strerror}; another folder, or other permissions, would do"


class EpisodeError(LitemkdError):
    """An episode that cannot be made or cannot be classified."""


class Terminated(SystemExit):
    """The process was asked to end by a signal; the exit code is the shell's for that signal. No mistake."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class TrackingError(LitemkdError):
    """The tracking store or the model registry refused, or does not hold what was asked for.

    What the store says may hold its address: passwords in the message are hidden.
    """

    def __init__(self, message: str) -> None:
        super().__init__(hide(message))


def first_line(error: Exception) -> str:
    """What another library says of an error, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def first_cause(error: BaseException) -> str:
    """The first cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip() if lines else ''}"


def some(names: Collection[str], limit: int = 5) -> str:
    """The first few names, and how many more there are; for messages."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return f"{', '.join(listed[:limit])}{more}"
