"""What stands at the top of a run's page, and the models that a run is linked to."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from litemkd import tracking
from litemkd.tracking.tags import NOTE


def test_results_join_the_description(client: MlflowClient) -> None:
    with tracking.stage_run("student", dataset="toy", name="one", description="What.") as run:
        run.describe("On val **3 %**.")
        run.describe("Table:\n\n| a |")
    assert client.get_run(run.run_id).data.tags[NOTE] == "What. On val **3 %**. Table:\n\n| a |"
    with tracking.stage_run("student", dataset="toy", name="two") as run:
        run.describe("Only this.")
    assert client.get_run(run.run_id).data.tags[NOTE] == "Only this."


def test_a_model_that_is_read_is_linked_and_an_unknown_one_stops_nothing(
    client: MlflowClient, checkpoint: Path
) -> None:
    with tracking.stage_run("teacher", dataset="toy", name="teacher") as run:
        model = run.log_model(checkpoint, name="teacher", step=1, metrics={})
    assert tracking.register(model, "litemkd-toy-teacher", {}) == 1
    with tracking.stage_run("student", dataset="toy", name="student") as run:
        run.use_model("litemkd-toy-teacher", 1)
        run.use_model("litemkd-toy-teacher", 9)
    stored = client.get_run(run.run_id)
    assert [one.model_id for one in stored.inputs.model_inputs] == [model]
    assert stored.info.status == "FINISHED"
