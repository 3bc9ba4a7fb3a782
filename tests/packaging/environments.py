"""Environments that hold nothing of this checkout, to find out what works only beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bare(*first: Path, **more: str) -> dict[str, str]:
    """The variables of a shell that knows nothing of this environment, with `first` on its search path."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL_ENV", "CONDA", "MLFLOW", "PYTEST", "LITEMKD", "COVERAGE"))
    }
    own = Path(sys.executable).parent
    path = [one for one in kept["PATH"].split(":") if Path(one) != own]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false"}
    return kept | quiet | {"PATH": ":".join([*map(str, first), *path])} | more


def run(words: list[str | Path], cwd: Path, environment: dict[str, str], seconds: float = 1200) -> str:
    """What a command prints, which has to work."""
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def scratch_clone(folder: Path) -> Path:
    """The files of this checkout that git knows, as they are now, somewhere else."""
    listed = run(["git", "ls-files", "-co", "--exclude-standard"], ROOT, dict(os.environ))
    for name in filter(None, listed.splitlines()):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, as `pip wheel .` makes it."""
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    run(words, ROOT, dict(os.environ))
    (wheel,) = folder.glob("*.whl")
    return wheel


def interpreter(version: str) -> Path | None:
    """A Python of this version, for instance 3.12: the search path's own, or one that pyenv keeps."""
    places = [Path(one) for one in os.environ["PATH"].split(":")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places += sorted(one / "bin" for one in pyenv.glob(f"{version}.*"))
    for place in places:
        python = place / f"python{version}"
        if not python.is_file():
            continue
        asked = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
        if re.match(rf"Python {re.escape(version)}\b", asked.stdout):  # a shim may only say that it is none
            return python
    return None
