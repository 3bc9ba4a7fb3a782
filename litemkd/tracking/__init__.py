"""Tracking: what the stages write to MLflow and read from it. No other package imports MLflow.

`stage_run` opens a run; its `Run` takes metrics, artifacts and checkpoints. `register`, `find_version`,
`download` and `promote` are the model registry; `read_runs` reads runs back as plain records.
"""

from litemkd.tracking import mlflow_settings  # first: MLflow reads it while it is imported
from litemkd.tracking.delivery.deferred import is_promise, promote
from litemkd.tracking.delivery.outbox import unsent
from litemkd.tracking.delivery.sending import NUMBER
from litemkd.tracking.delivery.unsent import send_unsent, waiting
from litemkd.tracking.registry.aliases import (
    ALIASES,
    Alias,
    Promotion,
    check_choice,
    current_aliases,
    preview,
    promote_by_hand,
    unpin,
)
from litemkd.tracking.registry.history import Record, promotions
from litemkd.tracking.registry.versions import (
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
)
from litemkd.tracking.runs.launcher import launched
from litemkd.tracking.runs.orphans import close_dead, close_orphans
from litemkd.tracking.runs.records import RunRecord, metric_points, read_array, read_run, read_runs, read_table
from litemkd.tracking.runs.resuming import Resume
from litemkd.tracking.runs.run import Run, attach, register_model
from litemkd.tracking.runs.stage import RunOptions, former_run, stage_run
from litemkd.tracking.store import require_store, store_file, store_uri, ui_command, use_store, without_password
from litemkd.tracking.tags import FOLD
