"""Tracking: what the stages write to MLflow and read from it. No other package imports MLflow.

`stage_run` opens a run; its `Run` takes metrics, artifacts and checkpoints. `register`, `find_version`,
`download` and `promote` are the model registry; `read_runs` reads runs back as plain records.
"""

from litemkd.tracking import quiet  # noqa: F401  (first: it sets what MLflow reads while it is imported)
from litemkd.tracking.artifacts import read_array, read_table
from litemkd.tracking.beginning import require_store
from litemkd.tracking.deferred import is_promise, promote, register_model
from litemkd.tracking.history import Record, promotions
from litemkd.tracking.orphans import close_orphans
from litemkd.tracking.others import attach, close_dead, launched, metric_points
from litemkd.tracking.outbox import unsent
from litemkd.tracking.promoting import (
    ALIASES,
    Alias,
    Move,
    Pin,
    Promotion,
    check_choice,
    preview,
    promote_by_hand,
    standing,
    unpin,
)
from litemkd.tracking.records import RunRecord, read_run, read_runs
from litemkd.tracking.registry import (
    Version,
    describe_version,
    download,
    find_address,
    find_version,
    get_version,
    is_registered,
    list_versions,
    logged_model_of,
    model_name,
    register,
    tag_version,
)
from litemkd.tracking.runs import Run
from litemkd.tracking.sending import NUMBER
from litemkd.tracking.spool import send_unsent
from litemkd.tracking.stage import Resume, current_run, former_run, stage_run
from litemkd.tracking.store import store_file, store_uri, ui_command, use_store, without_password

__all__ = [
    "ALIASES",
    "NUMBER",
    "Alias",
    "Move",
    "Pin",
    "Promotion",
    "Record",
    "Resume",
    "Run",
    "RunRecord",
    "Version",
    "attach",
    "check_choice",
    "close_dead",
    "close_orphans",
    "current_run",
    "describe_version",
    "download",
    "find_address",
    "find_version",
    "former_run",
    "get_version",
    "is_promise",
    "is_registered",
    "launched",
    "list_versions",
    "logged_model_of",
    "metric_points",
    "model_name",
    "preview",
    "promote",
    "promote_by_hand",
    "promotions",
    "read_array",
    "read_run",
    "read_runs",
    "read_table",
    "register",
    "register_model",
    "require_store",
    "send_unsent",
    "stage_run",
    "standing",
    "store_file",
    "store_uri",
    "tag_version",
    "ui_command",
    "unpin",
    "unsent",
    "use_store",
    "without_password",
]
