"""What MLflow keeps for itself and is used here: in one module, and there in the MLflow that is installed."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from litemkd.tracking import mlflow_private
from tests.helpers import usual_first

PACKAGE = Path(mlflow_private.__file__).parents[1]
DOCUMENTED = {"mlflow", "mlflow.entities", "mlflow.entities.model_registry", "mlflow.environment_variables"}
DOCUMENTED |= {"mlflow.exceptions", "mlflow.models", "mlflow.pyfunc", "mlflow.tracking.client"}
DOCUMENTED |= {"mlflow.entities.trace_location"}
CODES = {"mlflow.protos.databricks_pb2"}  # of errors; a served model is loaded without the tracking package


def test_what_is_private_is_imported_in_one_module() -> None:
    for path in PACKAGE.rglob("*.py"):
        found = set()
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(one, ast.Import):
                found |= {alias.name for alias in one.names if alias.name.split(".")[0] == "mlflow"}
            elif isinstance(one, ast.ImportFrom) and (one.module or "").split(".")[0] == "mlflow":
                found.add(one.module or "")
        allowed = DOCUMENTED | (CODES if path.name == "pyfunc.py" else set())
        assert path == Path(mlflow_private.__file__) or found <= allowed, path


def test_each_private_name_is_there_and_is_what_it_was() -> None:
    for name in mlflow_private.__all__:
        assert hasattr(mlflow_private, name), f"this MLflow has no {name}"
    for table in (mlflow_private.SqlParam, mlflow_private.SqlTag, mlflow_private.SqlLatestMetric):
        assert {"run_uuid", "key", "value"} <= set(table.__table__.columns.keys())
    assert "is_nan" in mlflow_private.SqlLatestMetric.__table__.columns
    assert {"postgresql", "sqlite"} <= set(mlflow_private.DATABASE_ENGINES)
    watch = mlflow_private.SystemMetricsMonitor
    for used in ("_shutdown_event", "_process", "_metrics_prefix", "node_id", "monitors", "sampling_interval"):
        assert f"self.{used} =" in inspect.getsource(watch.__init__), used
    for used in ("monitor", "publish_metrics", "collect_metrics", "aggregate_metrics", "start"):
        assert callable(getattr(watch, used)), used
    taken = inspect.signature(mlflow_private.http_request).parameters
    assert {"max_retries", "timeout", "raise_on_status"} <= set(taken)
    assert "tracking_uri" in inspect.signature(mlflow_private.get_artifact_repository).parameters


@pytest.mark.parametrize("which", usual_first(["rooms"], ["modules"]))
def test_every_module_imports_alone(which: str) -> None:
    """Also where it is the first of the package: no module needs another one to be imported before it."""
    deep = {"rooms": ("*.py", "*/__init__.py"), "modules": ("**/*.py",)}[which]
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for pattern in deep
        for path in sorted(PACKAGE.glob(pattern))
        if path.name != "__main__.py"
    ]
    code = f"""
import importlib, sys, types
import mlflow, numpy, torch
for name in {names}:
    for known in [one for one in sys.modules if one.split(".")[0] == "litemkd"]:
        del sys.modules[known]
    for end in range(2, name.count(".") + 1):  # packages without what they import, which would come first
        package = types.ModuleType(".".join(name.split(".")[:end]))
        package.__path__ = [{str(PACKAGE.parent)!r} + "/" + package.__name__.replace(".", "/")]
        sys.modules[package.__name__] = package
    importlib.import_module(name)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, re.sub(r"(?s)^.*?Traceback", "Traceback", done.stderr)
