"""The project's folder as MLflow sees it: its MLproject, and whether conda is there to make its environment.

Read in every process that imports MLflow (see `litemkd.mlflow_plugin`), so it imports nothing that takes time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

PROJECT = "litemkd"


def missing_conda() -> str | None:
    """The conda program that MLflow would call and that is not there; None when conda can be started.

    The same look-up as MLflow's: MLFLOW_CONDA_HOME, then CONDA_EXE, then the search path; and the program that
    makes environments may be another one (MLFLOW_CONDA_CREATE_ENV_CMD).
    """
    import shutil

    for program in ("conda", os.environ.get("MLFLOW_CONDA_CREATE_ENV_CMD") or "conda"):
        if home := os.environ.get("MLFLOW_CONDA_HOME"):
            wanted = f"{home}/bin/{program}"
        elif conda := os.environ.get("CONDA_EXE"):
            wanted = os.path.join(os.path.dirname(conda), program)  # noqa: PTH118, PTH120 (may have no folder)
        else:
            wanted = program
        if shutil.which(wanted) is None:
            return wanted
    return None


def project_folder(uri: str) -> Path | None:
    """The local folder that a project's address names: `folder`, `file:///folder` or `folder#part`."""
    from pathlib import Path
    from urllib.parse import unquote, urlparse

    whole, _, part = uri.strip("'\"").partition("#")
    path = Path(unquote(urlparse(whole).path) if whole.startswith("file://") else whole) / part
    return path.absolute() if whole and path.is_dir() else None


def read_project(folder: Path) -> dict[str, Any]:
    """The content of a folder's MLproject, empty when there is none or it is not a mapping."""
    import yaml

    for path in sorted(folder.iterdir()):
        if path.name.lower() == "mlproject":
            try:
                content = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):  # MLflow will say what is wrong with it
                return {}
            return content if isinstance(content, dict) else {}
    return {}


def is_ours(folder: Path) -> bool:
    """Whether the folder's MLproject is this project's."""
    return read_project(folder).get("name") == PROJECT
