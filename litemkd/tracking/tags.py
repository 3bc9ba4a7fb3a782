"""Tags of runs by one name each; tags, parameters and names of metrics as the store takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from litemkd.secrets import hide

OWNER = "litemkd.owner"  # which process works on the run, see `litemkd.runtime.processes.this_process`
HEARTBEAT = "litemkd.heartbeat"  # when it was last heard of, seconds since 1970
ERROR = "litemkd.error"  # why the run failed
CLOSED = "litemkd.closed_by_another"  # the same, where another process closed it
STOPPED = "litemkd.stopped"  # what ended it that is no failure: a signal's name, Ctrl-C, why a trial was pruned
ORIGIN = "litemkd.origin"  # the word that stood for it before it was in the store
FOLD = "litemkd.fold"  # which division of the classes it is of, where there are several
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"  # what stands at the top of the page of a run or an experiment

AT_ONCE = 100  # parameters or tags in one request, the store's limit
LONGEST_PARAM = 6000  # characters, the store's limits
LONGEST_TAG = 8000


def run_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as stored: a plain key `head` becomes `litemkd.head`, True becomes `true`, None is left out."""
    return {
        key if "." in key else f"litemkd.{key}": hide(_words(value))[:LONGEST_TAG]
        for key, value in tags.items()
        if value is not None
    }


def _words(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def stored_value(value: Any) -> str:
    """A parameter's value as it is stored."""
    words = hide(_words(value))
    return words if len(words) <= LONGEST_PARAM else words[: LONGEST_PARAM - 1] + "…"


def allowed_name(key: str) -> str:
    """The name of a metric or parameter in the characters and the length that the store allows."""
    return re.sub(r"[^\w.\- /:]", "_", key)[:250]


def chunks(items: Mapping[str, Any], size: int = AT_ONCE) -> Iterator[dict[str, Any]]:
    """`items` in parts of at most so many."""
    left = iter(items.items())
    while part := dict(islice(left, size)):
        yield part
