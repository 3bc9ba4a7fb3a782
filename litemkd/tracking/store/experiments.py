"""Experiments of the store, one a data set, made where it is missing; and what searches find, page by page."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.tracking.store.addresses import without_password
from litemkd.tracking.store.failures import already_exists, retry
from litemkd.tracking.store.opening import is_server, store_uri
from litemkd.tracking.store.views import VIEW, view_page, view_state
from litemkd.tracking.tags import NOTE

PAGE = 500
KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"  # opens at runs, not at chat traces


def experiment_name(dataset: str) -> str:
    """The name of a data set's experiment."""
    return f"litemkd/{dataset}"


def experiment_id(client: MlflowClient, dataset: str) -> str:
    """The id of a data set's experiment, which is made if missing.

    Raises:
        TrackingError: the experiment is in the store's bin.
    """
    name = experiment_name(dataset)
    found = retry(lambda: client.get_experiment_by_name(name))
    if found is None:
        note = f"Few-shot action recognition on {dataset}: teachers, distilled students and what they cost."
        tags = {NOTE: note, KIND: TRAINING, "litemkd.dataset": dataset, VIEW: view_state()}
        try:
            made = retry(lambda: client.create_experiment(name, tags=tags))
            link = f"{note} [Its runs with the columns that matter]({view_page(made)[1:]})"
            retry(lambda: client.set_experiment_tag(made, NOTE, link))
            return made
        except MlflowException as error:
            if not already_exists(error):  # else another process made it just now
                raise
            found = retry(lambda: client.get_experiment_by_name(name))
    if found is None:
        raise TrackingError(f"the experiment {name} is in the store and cannot be read")
    refuse_deleted(found)
    if found.tags.get(VIEW) != view_state():  # made by an earlier version
        retry(lambda: client.set_experiment_tag(found.experiment_id, VIEW, view_state()))
    return found.experiment_id


def refuse_deleted(experiment: Experiment) -> None:
    """TrackingError: the experiment is in the store's bin."""
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {experiment.name} was deleted and is in the store's bin: take it out with "
            f"`{_mlflow('experiments restore', experiment)}`, or remove it for good with "
            f"`{_mlflow('gc', experiment)}`"
            + (", on the server's machine, URI being the address of its data base" if is_server() else "")
        )


def _mlflow(what: str, experiment: Experiment) -> str:
    """A command of MLflow's own on an experiment of the store in use, as it can be typed."""
    uri = store_uri()
    address = shlex.quote(uri) if without_password(uri) == uri else '"$MLFLOW_TRACKING_URI"'
    if what == "gc":  # it takes neither address from the other one, and asks for both
        backend = "URI" if is_server() else address
        words = f"--backend-store-uri {backend} --tracking-uri {address} --experiment-ids"
    else:
        words = "--experiment-id"
    before = f"MLFLOW_TRACKING_URI={address} " if what != "gc" and "$" not in address else ""
    return f"{before}mlflow {what} {words} {experiment.experiment_id}"


def experiments(client: MlflowClient, name: str | None = None) -> list[Experiment]:
    """The active experiment of a name, or with None all `litemkd/…`."""
    if name is None:
        return list(pages(client.search_experiments, filter_string="name LIKE 'litemkd/%'"))
    found = retry(lambda: client.get_experiment_by_name(name))
    return [found] if found is not None and found.lifecycle_stage == "active" else []


def pages(
    search: Callable[..., Any],
    *,
    size: int = PAGE,
    again: Callable[[Callable[[], Any]], Any] = retry,
    **terms: Any,
) -> Iterator[Any]:
    """All that a search of MLflow's client finds, so many at once; each request is made by `again`."""
    token: str | None = None
    while True:
        page = again(functools.partial(search, **terms, max_results=size, page_token=token))
        yield from page
        token = page.token
        if not token:
            return
