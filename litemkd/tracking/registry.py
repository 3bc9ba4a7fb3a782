"""The model registry: versions of a data set's teachers and students, found again by tag, and the two aliases.

`champion` is the version with the best accuracy on the val classes, `lite` the cheapest one within a point of
it. Test accuracy has no part in either.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from litemkd.distributed import from_main, main_first
from litemkd.errors import TrackingError
from litemkd.tracking import store
from litemkd.tracking.promotion import MARGIN, Candidate, choose
from litemkd.tracking.runs import run_tags

T = TypeVar("T")
_ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<number>\d+))")
VAL_ACCURACY = "litemkd.val_accuracy"
COST = "litemkd.gmacs_per_episode"
PROTOCOL = "litemkd.protocol"
FINGERPRINT = "litemkd.fingerprint"


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        version: its number, 1, 2, …
        model_id: of the logged model it was made from; `run_id` of its run.
    """

    name: str
    version: int
    tags: Mapping[str, str] = field(repr=False)
    description: str = field(repr=False, default="")
    run_id: str | None = None
    model_id: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Promotion:
    """Where the aliases stand.

    Attributes:
        champion: version number, None when no version has a val accuracy.
        lite: version number, None when no version near the champion has a cost.
        changes: what was moved, one sentence each; empty when nothing was.
    """

    champion: int | None
    lite: int | None
    changes: tuple[str, ...]


def model_name(dataset: str, kind: Literal["teacher", "student"]) -> str:
    """The registered name of a data set's teachers or students."""
    return f"litemkd-{dataset}-{kind}"


def register(model_id: str, registered_name: str, tags: Mapping[str, Any], description: str = "") -> int:
    """Make a logged model the next version of `registered_name`, which is made if missing.

    Args:
        model_id: from `Run.log_model`.
        registered_name: see `model_name`.
        tags: of the version; plain keys as in `stage_run`. The run is added as `litemkd.run`.
        description: of the version, Markdown.

    Returns:
        The version's number.

    Raises:
        TrackingError: there is no such model, or the registry refused.
    """
    client = store.connect()
    try:
        logged = client.get_logged_model(model_id)
        try:
            client.create_registered_model(registered_name, description=_purpose(registered_name))
        except MlflowException as error:
            if not store.already_exists(error):
                raise
        named = run_tags(tags) | ({"litemkd.run": logged.source_run_id} if logged.source_run_id else {})
        made = store.patiently(
            lambda: client.create_model_version(
                registered_name,
                f"models:/{model_id}",
                run_id=logged.source_run_id,
                tags=named,
                description=description or None,
                model_id=model_id,
            )
        )
    except Exception as error:
        raise TrackingError(
            f"the model {model_id} cannot be registered as {registered_name}: {error}"
        ) from error
    return int(made.version)


def _purpose(name: str) -> str:
    return (
        f"Few-shot action recognition, {name}. Alias `champion`: the best on the val classes; `lite`: the "
        f"cheapest within {MARGIN:g} point of it."
    )


@from_main
def tag_version(registered_name: str, number: int, tags: Mapping[str, Any]) -> None:
    """Set further tags of a version, such as its test accuracy once it is known."""
    client = store.connect()
    for key, value in run_tags(tags).items():
        _ask(functools.partial(client.set_model_version_tag, registered_name, str(number), key, value))


def list_versions(registered_name: str) -> list[Version]:
    """All versions, newest first; none where the name is not registered."""
    return _search(f"name = '{registered_name}'")


@from_main
def find_version(registered_name: str, tags: Mapping[str, Any]) -> Version | None:
    """The newest version with all these tags, such as `{"litemkd.fingerprint": …}`; None if there is none.

    A store that is away is waited for, see `store.insistently`.
    """
    return newest_version(registered_name, tags, wait=True)


def newest_version(registered_name: str, tags: Mapping[str, Any], *, wait: bool = False) -> Version | None:
    """As `find_version`, for one process alone."""
    conditions = [f"name = '{registered_name}'"]
    conditions += [f"tags.`{key}` = '{value}'" for key, value in run_tags(tags).items()]
    found = _search(" and ".join(conditions), wait=wait)
    return found[0] if found else None


def get_version(registered_name: str, version: int | str) -> Version:
    """A version by number or alias.

    Raises:
        TrackingError: there is none.
    """
    client = store.connect()
    if isinstance(version, int) or version.isdigit():
        return _version(_ask(lambda: client.get_model_version(registered_name, str(version)), wait=True))
    return _version(_ask(lambda: client.get_model_version_by_alias(registered_name, version), wait=True))


def is_registered(address: str) -> bool:
    """Whether a word is the address of a registered model: `models:/name@alias` or `models:/name/version`."""
    return _ADDRESS.fullmatch(address) is not None


def find_address(address: str) -> Version:
    """The version that an address means, see `is_registered`.

    Raises:
        TrackingError: no such address, or no such version.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        name = re.split("[@/]", address.removeprefix("models:/"))[0] or "NAME"
        raise TrackingError(
            f"{address} does not say which version: models:/{name}@champion or models:/{name}/1 would do"
        )
    return get_version(parts["name"], parts["alias"] or parts["number"])


@main_first
def download(registered_name: str, version: int | str | None = None) -> Path:
    """The folder of a version's `weights.safetensors` and `model.json` on this machine.

    Read only: with a local store it is the store's own copy.

    Args:
        registered_name: see `model_name`; or, with no version, an address as in `is_registered`.
        version: number or alias.

    Raises:
        TrackingError: there is no such version, or its files are gone.
    """
    found = find_address(registered_name) if version is None else get_version(registered_name, version)
    address = f"models:/{found.name}/{found.version}"
    root = Path(_ask(lambda: mlflow.artifacts.download_artifacts(address), wait=True))
    flavor = Model.load(str(root)).flavors.get("python_function", {})
    folder = root / flavor.get("data", "")
    if "data" not in flavor or not folder.is_dir():
        raise TrackingError(f"{address} at {root} is not a model of litemkd: it has no folder of weights")
    return folder


def promote(registered_name: str) -> Promotion:
    """Move the aliases to where `choose` says they belong. With no val accuracy anywhere nothing is touched.

    Raises:
        TrackingError: the registry refused.
    """
    client = store.connect()
    versions = {one.version: one for one in list_versions(registered_name)}
    aliases = _aliases(client, registered_name)
    candidates = [_candidate(version) for version in versions.values()]
    champion, lite = choose(candidates, champion=aliases.get("champion"), lite=aliases.get("lite"))
    if champion is None:
        return Promotion(aliases.get("champion"), aliases.get("lite"), ())
    changes = [
        _move(client, registered_name, alias, aliases.get(alias), versions, to)
        for alias, to in (("champion", champion), ("lite", lite))
    ]
    return Promotion(champion, lite, tuple(change for change in changes if change))


def _move(
    client: MlflowClient,
    name: str,
    alias: str,
    now: int | None,
    versions: Mapping[int, Version],
    to: int | None,
) -> str | None:
    if to == now:
        return None
    if to is None:
        _ask(lambda: client.delete_registered_model_alias(name, alias))
        return f"{name}: version {now} is no longer {alias}: no version near the champion has a known cost"
    _ask(lambda: client.set_registered_model_alias(name, alias, str(to)))
    before = f", before it version {now}" + _figures(versions.get(now)) if now is not None else ""
    return f"{name}: version {to}{_figures(versions[to])} is now {alias}{before}"


def _figures(version: Version | None) -> str:
    if version is None:
        return ""
    accuracy, cost = version.tags.get(VAL_ACCURACY), version.tags.get(COST)
    facts = [f"val {accuracy} %" if accuracy else "", f"{cost} GMACs an episode" if cost else ""]
    shown = ", ".join(fact for fact in facts if fact)
    return f" ({shown})" if shown else ""


def _candidate(version: Version) -> Candidate:
    tags = version.tags
    return Candidate(
        version.version, _number(tags.get(VAL_ACCURACY)), _number(tags.get(COST)), tags.get(PROTOCOL)
    )


def _number(word: str | None) -> float | None:
    try:
        return None if word is None else float(word)
    except ValueError:
        return None


def _aliases(client: MlflowClient, name: str) -> dict[str, int]:
    try:
        found = client.get_registered_model(name)
    except MlflowException:
        return {}
    return {alias: int(number) for alias, number in found.aliases.items()}


def _search(filter_string: str, *, wait: bool = False) -> list[Version]:
    if not store.exists():
        return []
    client = store.connect()
    found: list[Version] = []
    token: str | None = None
    while True:
        page = _ask(
            functools.partial(
                client.search_model_versions,
                filter_string,
                max_results=1000,
                order_by=["version_number DESC"],
                page_token=token,
            ),
            wait=wait,
        )
        found += [_version(version) for version in page]
        token = page.token
        if not token:
            return found


def _version(found: ModelVersion) -> Version:
    return Version(
        name=found.name,
        version=int(found.version),
        tags=dict(found.tags),
        description=found.description or "",
        run_id=found.run_id,
        model_id=found.model_id or (found.source or "").removeprefix("models:/") or None,  # a search omits it
        aliases=tuple(found.aliases or ()),
    )


def _ask(call: Callable[[], T], *, wait: bool = False) -> T:
    try:
        return store.insistently(call) if wait else store.patiently(call)
    except TrackingError:
        raise
    except Exception as error:
        raise TrackingError(f"the model registry refused: {error}") from error
