"""Tracking: what the stages write to MLflow and read from it. No other package imports MLflow.

`stage_run` opens a run; its `Run` takes metrics, artifacts and checkpoints. `register`, `find_version`,
`download` and `promote` are the model registry; `read_runs` reads runs back as plain records.
"""

from litemkd.tracking import quiet  # noqa: F401  (first: it sets what MLflow reads while it is imported)
from litemkd.tracking.deferred import is_promise, promote, register_model
from litemkd.tracking.orphans import close_orphans
from litemkd.tracking.others import attach, close_dead, metric_points
from litemkd.tracking.outbox import unsent
from litemkd.tracking.records import RunRecord, read_runs
from litemkd.tracking.registry import (
    Promotion,
    Version,
    download,
    find_address,
    find_version,
    get_version,
    is_registered,
    list_versions,
    model_name,
    register,
    tag_version,
)
from litemkd.tracking.runs import Run
from litemkd.tracking.spool import send_unsent
from litemkd.tracking.stage import current_run, stage_run
from litemkd.tracking.store import store_file, store_uri, ui_command, use_store, without_password

__all__ = [
    "Promotion",
    "Run",
    "RunRecord",
    "Version",
    "attach",
    "close_dead",
    "close_orphans",
    "current_run",
    "download",
    "find_address",
    "find_version",
    "get_version",
    "is_promise",
    "is_registered",
    "list_versions",
    "metric_points",
    "model_name",
    "promote",
    "read_runs",
    "register",
    "register_model",
    "send_unsent",
    "stage_run",
    "store_file",
    "store_uri",
    "tag_version",
    "ui_command",
    "unsent",
    "use_store",
    "without_password",
]
