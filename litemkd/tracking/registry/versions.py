"""The model registry: versions of a data set's teachers and students, found again by tag, and their files."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from litemkd.errors import TrackingError, some
from litemkd.runtime.distributed import from_main, main_first
from litemkd.tracking import store
from litemkd.tracking.registry.promotion import MARGIN
from litemkd.tracking.store import artifact_roots
from litemkd.tracking.store.failures import one_line
from litemkd.tracking.tags import run_tags

T = TypeVar("T")
_ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<number>\d+))")
_NONE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"}  # no model, no alias, no version
LONGEST_DESCRIPTION = 5000  # characters, the store's limit


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        version: its number, 1, 2, …
        model_id: of the logged model it was made from; `run_id` of its run.
        aliases: known only of a version that was asked for by number or alias.
    """

    name: str
    version: int
    tags: Mapping[str, str] = field(repr=False)
    description: str = field(repr=False, default="")
    run_id: str | None = None
    model_id: str | None = None
    aliases: tuple[str, ...] = ()


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
        made = store.retry(
            lambda: client.create_model_version(
                registered_name,
                f"models:/{model_id}",
                run_id=logged.source_run_id,
                tags=named,
                description=description[:LONGEST_DESCRIPTION] or None,
                model_id=model_id,
            )
        )
    except Exception as error:
        raise TrackingError(
            f"the model {model_id} cannot be registered as {registered_name}: {one_line(error)}"
        ) from error
    return int(made.version)


def _purpose(name: str) -> str:
    return (
        f"Few-shot action recognition, {name}. Alias `champion`: the best on the val classes; `lite`: the "
        f"cheapest within {MARGIN:g} point of it."
    )


def logged_model_of(run_id: str) -> str | None:
    """The id of the last model that a run logged; None where it logged none."""
    client = store.connect()
    outputs = ask(lambda: client.get_run(run_id)).outputs
    models = [] if outputs is None else outputs.model_outputs
    return max(models, key=lambda model: model.step).model_id if models else None


def describe_version(registered_name: str, number: int, description: str) -> None:
    """Set the description of a version, Markdown; the store keeps `LONGEST_DESCRIPTION` characters."""
    client = store.connect()
    text = description[:LONGEST_DESCRIPTION]
    ask(lambda: client.update_model_version(registered_name, str(number), description=text))


def list_versions(registered_name: str) -> list[Version]:
    """All versions, newest first; none where the name is not registered."""
    return _search(f"name = '{registered_name}'")


@from_main
def find_version(registered_name: str, tags: Mapping[str, Any]) -> Version | None:
    """The newest version with all these tags, such as `{"litemkd.fingerprint": …}`; None if there is none.

    A store that is away is waited for, see `store.wait_for`.
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
    if not store.exists():
        raise TrackingError(
            f"{registered_name}: there is no store {store.without_password(store.store_uri())} here yet; start "
            "in the folder where it was registered, or set MLFLOW_TRACKING_URI"
        )
    client = store.connect()
    if isinstance(version, int) or version.isdecimal():
        find = functools.partial(client.get_model_version, registered_name, str(version))
    else:
        find = functools.partial(client.get_model_version_by_alias, registered_name, version)
    try:
        return _version(store.wait_for(find))
    except Exception as error:
        if isinstance(error, MlflowException) and error.error_code in _NONE:
            raise TrackingError(_what_there_is(registered_name, version)) from error
        raise TrackingError(f"the model registry refused: {one_line(error)}") from error


def _what_there_is(name: str, version: int | str) -> str:
    """That a version is not there, which ones are, and what would make one."""
    by_number = isinstance(version, int) or version.isdecimal()
    wanted = f"models:/{name}/{version}" if by_number else f"models:/{name}@{version}"
    where = store.without_password(store.store_uri())
    versions = [one.version for one in list_versions(name)]
    if not versions:
        kind = "teacher" if name.endswith("-teacher") else "student"
        return (
            f"{wanted}: no version of {name} is registered in {where}; `litemkd {kind}` of its data set trains "
            "and registers one, or set MLFLOW_TRACKING_URI to the store where it is"
        )
    there = some([f"models:/{name}/{number}" for number in versions])
    if by_number:
        return f"{wanted}: there is no such version in {where}; {there} would do"
    settle = "" if version not in ("champion", "lite") else ", and `litemkd register` settles the alias anew"
    return f"{wanted}: no version has the alias {version} in {where}; {there} would do{settle}"


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
    if store.is_server() and (why := artifact_roots.why_missing(_location(found), address)) is not None:
        raise TrackingError(why)
    root = Path(ask(lambda: mlflow.artifacts.download_artifacts(address), wait=True))
    flavor = Model.load(str(root)).flavors.get("python_function", {})
    folder = root / flavor.get("data", "")
    if "data" not in flavor or not folder.is_dir():
        raise TrackingError(f"{address} at {root} is not a model of litemkd: it has no folder of weights")
    return folder


def _location(version: Version) -> str:
    """Where the files of a version are, as the store has it."""
    client, model_id = store.connect(), version.model_id
    if model_id is not None and model_id.startswith("m-"):
        return ask(lambda: client.get_logged_model(model_id), wait=True).artifact_location
    number = str(version.version)
    return ask(lambda: client.get_model_version_download_uri(version.name, number), wait=True)


def _search(filter_string: str, *, wait: bool = False) -> list[Version]:
    if not store.exists():
        return []
    client, order = store.connect(), ["version_number DESC"]
    find = functools.partial(client.search_model_versions, filter_string=filter_string, order_by=order)
    return [_version(one) for one in store.pages(find, again=functools.partial(ask, wait=wait))]


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


def ask(call: Callable[[], T], *, wait: bool = False) -> T:
    """`call()` of MLflow's registry; with `wait` a store that is away is waited for.

    Raises:
        TrackingError: it refused.
    """
    try:
        return store.wait_for(call) if wait else store.retry(call)
    except TrackingError:
        raise
    except Exception as error:
        raise TrackingError(f"the model registry refused: {one_line(error)}") from error
