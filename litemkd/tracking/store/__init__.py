"""The tracking store: its address, opening it, whether it answers, what its failures mean, its experiments."""

from litemkd.tracking.store.addresses import is_web, sqlite_file, sqlite_uri, without_password
from litemkd.tracking.store.experiments import (
    experiment_id,
    experiment_name,
    experiments,
    pages,
    refuse_deleted,
)
from litemkd.tracking.store.failures import already_exists, is_refusal, one_line, retry, wait_for
from litemkd.tracking.store.opening import (
    connect,
    create_sqlite_store,
    exists,
    is_server,
    store_file,
    store_uri,
    ui_command,
    use_store,
)
from litemkd.tracking.store.required import require_store
