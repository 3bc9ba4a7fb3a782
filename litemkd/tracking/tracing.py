"""Traces of answers, where they are asked for: what was asked, how long each part took, what was answered.

MLflow shows them on the page `Traces` of an experiment. Nothing is written unless the variable LITEMKD_TRACES
is `true`, as it may be for a served model, or `litemkd predict --trace` is given. Frames are never in a trace.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mlflow
from mlflow.entities.trace_location import MlflowExperimentLocation

from litemkd.errors import TrackingError
from litemkd.tracking import store
from litemkd.tracking.store import one_line

VARIABLE = "LITEMKD_TRACES"
_YES = ("true", "1", "yes", "on")

Tell = Callable[[Mapping[str, Any]], None]  # takes what came out


def wanted() -> bool:
    """Whether answers of this process are traced."""
    return os.environ.get(VARIABLE, "").lower() in _YES


@contextlib.contextmanager
def traces_in(dataset: str) -> Iterator[None]:
    """Trace what is answered inside, in the experiment of a data set; sent when the block ends.

    Raises:
        TrackingError: the store does not answer.
    """
    before = os.environ.get(VARIABLE)
    number = store.experiment_id(store.connect(), dataset)
    mlflow.tracing.set_destination(MlflowExperimentLocation(experiment_id=number))
    os.environ[VARIABLE] = "true"
    try:
        yield
    finally:
        try:
            mlflow.flush_trace_async_logging()
        except Exception as error:
            raise TrackingError(f"the trace cannot be written: {one_line(error)}") from error
        finally:
            mlflow.tracing.reset()
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


@contextlib.contextmanager
def span(name: str, inputs: Mapping[str, Any]) -> Iterator[Tell]:
    """A part of an answer, with those inside it below; nothing where traces are not wanted.

    Args:
        name: of the part.
        inputs: plain values.
    """
    if not wanted():
        yield lambda outputs: None
        return
    with mlflow.start_span(name) as made:
        made.set_inputs(dict(inputs))
        yield lambda outputs: made.set_outputs(dict(outputs))
