"""The view that an experiment's page opens with: the columns that matter, of MLflow's many.

MLflow keeps a view that is shared in a tag of the experiment, and an address names it. What is in the tag was
read from MLflow's pages, and a test looks at them: it is not documented.
"""

from __future__ import annotations

import json

KEY = "litemkd"
VIEW = f"mlflow.sharedViewState.{KEY}"  # tag of an experiment
TAGS = ("litemkd.stage", "litemkd.backbone", "litemkd.head", "litemkd.distilled")
METRICS = (
    "val/accuracy",
    "test/accuracy",
    "test/accuracy_ci95",
    "cost/gmacs_per_episode",
    "cost/params_m",
)


def view_state() -> str:
    """The tag's value."""
    widths = {f"tags.`{name}`": 8 * len(name) + 24 for name in TAGS}  # pixels in which their names can be read
    widths |= {f"metrics.`{name}`": 8 * len(name) + 24 for name in METRICS}
    columns = list(widths)
    return json.dumps({"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths})


def view_page(experiment_id: str) -> str:
    """Where the view is, behind the address of a server."""
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}"
