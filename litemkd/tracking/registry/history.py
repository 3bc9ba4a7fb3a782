"""The history of promotions: tags of the registered model, the newest few hundred, and reading them back."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.tracking import store
from litemkd.tracking.mlflow_private import resolve_tags
from litemkd.tracking.registry.versions import ask
from litemkd.tracking.store.failures import one_line

_HISTORY = "litemkd.promotion."
_KEPT = 200  # promotions


@dataclass(frozen=True)
class Record:
    """A promotion that was made.

    Attributes:
        time: of day, UTC, as 2026-01-31 12:00:00.
        before, after: version numbers.
        by: rule or hand; `user` is whose process it was.
    """

    time: str
    alias: str
    before: int | None
    after: int | None
    by: str
    reason: str
    user: str


def promotions(registered_name: str) -> list[Record]:
    """The newest promotions of a registered model, oldest first; none where the name is not registered."""
    if not store.exists():
        return []
    found = find_registered(store.connect(), registered_name)
    tags = {} if found is None else found.tags
    return [_record(key, tags[key]) for key in sorted(tags) if key.startswith(_HISTORY)]


def find_registered(client: MlflowClient, name: str) -> RegisteredModel | None:
    """A registered model, None where there is none of that name. TrackingError: the registry refused."""
    try:
        return store.retry(lambda: client.get_registered_model(name))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise TrackingError(f"the model registry refused: {one_line(error)}") from error


def note(
    client: MlflowClient, name: str, alias: str, before: int | None, after: int | None, by: str, reason: str
) -> None:
    """Add to the history; the oldest entries beyond `_KEPT` go."""
    user = resolve_tags({}).get("mlflow.user", "")
    about = {"before": before, "after": after, "by": by, "reason": reason, "user": user}
    key = f"{_HISTORY}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{alias}"
    ask(lambda: client.set_registered_model_tag(name, key, json.dumps(about, ensure_ascii=False)))
    found = find_registered(client, name)
    kept = sorted(one for one in (found.tags if found else {}) if one.startswith(_HISTORY))
    for old in kept[:-_KEPT]:
        ask(functools.partial(client.delete_registered_model_tag, name, old))


def _record(key: str, value: str) -> Record:
    stamp, _, alias = key.removeprefix(_HISTORY).partition("-")
    when = re.sub(r"^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d).*$", r"\1-\2-\3 \4:\5:\6", stamp)
    about = mapping_of(value)
    before, after = (_whole(about.get(one)) for one in ("before", "after"))
    by, reason, user = (str(about.get(one, "")) for one in ("by", "reason", "user"))
    return Record(when, alias, before, after, by, reason, user)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def mapping_of(value: str) -> dict[str, object]:
    """What a tag holds as JSON; nothing where it holds anything but a mapping."""
    try:
        found = json.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
