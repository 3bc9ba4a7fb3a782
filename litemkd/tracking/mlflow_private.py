"""What is used of MLflow beside its documented interface. Another MLflow may not have it.

`pyproject.toml` bounds MLflow by the version that was tried; `tests/tracking/test_mlflow_private.py` tells what
is gone in another one.
"""

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlTag
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

__all__ = [
    "DATABASE_ENGINES",  # which addresses are data bases: one is tried before MLflow tries it for minutes
    "SqlLatestMetric",  # tables of runs: thousands are read as plain rows; a search takes half a minute
    "SqlParam",  # the same
    "SqlTag",  # the same
    "SystemMetricsMonitor",  # its collectors: the public switch has one interval for runs of seconds and days
    "get_artifact_repository",  # files of models, with their sizes: the client lists those of runs only
    "get_default_host_creds",  # user, password and certificates, as MLflow takes them of the environment
    "http_request",  # one question with its own time limit: the client has one limit for all requests
    "resolve_tags",  # user, source and commit of a run: the client's `create_run` adds none
]
