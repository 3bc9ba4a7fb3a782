"""Traces of answers: written where they are asked for, with what was asked and answered, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from litemkd.evaluation.recognition import Recogniser
from litemkd.models.backbones import Backbone
from litemkd.models.heads import OTAM
from litemkd.models.student import Student
from litemkd.pyfunc import Predictor
from litemkd.tracking.store import connect, experiment_id
from litemkd.tracking.tracing import VARIABLE, span, traces_in, wanted
from tests.job import Home

# MLflow's writer of traces uses what is deprecated, and says nothing of what is raised in it: no trace comes.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("traces"))


def traces(client: MlflowClient, number: str) -> list[mlflow.entities.Trace]:
    return client.search_traces(locations=[number], include_spans=True)


def test_a_trace_has_the_parts_of_an_answer(home: Home) -> None:
    with home.entered():
        client, number = connect(), experiment_id(connect(), "toy")
        with span("predict", {"model": "x"}) as tell:
            tell({"a": 1})  # not wanted: nothing comes of it
        assert traces(client, number) == []
        with traces_in("toy"):
            assert wanted()
            with span("predict", {"model": "x"}) as tell:
                with span("match", {"queries": 2}):
                    pass
                tell({"clip": {"wave": 0.75}})
        assert not wanted()
        (trace,) = traces(client, number)
    names = {one.name: one for one in trace.data.spans}
    assert set(names) == {"predict", "match"}
    assert names["match"].parent_id == names["predict"].span_id
    assert names["predict"].inputs == {"model": "x"}
    assert names["predict"].outputs == {"clip": {"wave": 0.75}}


def test_a_served_model_traces_its_answers_if_it_is_told_to(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    student = Student(Backbone("conv4"), OTAM(8, frames=2), width=8).eval()
    predictor = Predictor(Recogniser(student, frames=2, crop=32, short_side=32))
    clips = np.random.default_rng(0).integers(0, 256, (4, 2, 32, 32, 3), dtype=np.uint8)
    asked = {"frames": clips, "labels": np.array([1, 0, -1, -1])}
    with home.entered():
        number = experiment_id(connect(), "served")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
        plain = predictor.predict(asked)
        mlflow.flush_trace_async_logging()
        assert traces(connect(), number) == []
        monkeypatch.setenv(VARIABLE, "true")
        found = predictor.predict(asked)
        mlflow.flush_trace_async_logging()
        (trace,) = traces(connect(), number)
        mlflow.tracing.reset()
    np.testing.assert_array_equal(found, plain)
    (one,) = trace.data.spans
    np.testing.assert_allclose(one.outputs["probabilities"], plain, atol=1e-4)
    assert one.inputs == {"given": "frames, labels", "labels": "[ 1  0 -1 -1]"}


def test_the_name_of_the_variable_is_told() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
    assert f"{VARIABLE}=true" in text
