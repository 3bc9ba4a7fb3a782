"""Settings MLflow reads while it is imported: set here, before any other module of this package imports it.

All are defaults: what the user has set in the environment stays.
"""

from __future__ import annotations

import logging
import os

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing is sent anywhere unless the user wants it
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # Of 7. What could not be sent is sent later, see `outbox`, which first looks whether it has arrived; a
    # request that is repeated beneath it, because the answer was lost, makes two runs.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # of 120 seconds
    "MLFLOW_UV_AUTO_DETECT": "false",  # a uv.lock in the folder must not start `uv export` at each checkpoint
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for results
}

for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line a try, in an outage hundreds
logging.getLogger("alembic").setLevel(logging.WARNING)
