"""Completion by the shell: what the Tab key offers, asked for as the shell asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from litemkd.cli import main

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_is_printed_is_for_that_shell(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0, done.output
    assert f"_LITEMKD_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("litemkd dist", ["distill"]),
        ("litemkd distill --config toy", ["toy", "toy/smoke", "toy/tutorial"]),
        ("litemkd cost --devi", ["--device"]),
        ("litemkd cost --device c", ["cpu", "cuda"]),
    ],
)
def test_bash_offers_what_can_follow(tmp_path: Path, typed: str, offered: list[str]) -> None:
    """The script itself is run by bash, with the line as it stands there."""
    program = tmp_path / "litemkd"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m litemkd "$@"\n'.replace(
            "-m litemkd", "-c 'from litemkd.cli import main; main(prog_name=\"litemkd\")'"
        )
    )
    program.chmod(0o755)
    words = typed.split()
    script = (
        f"source <(litemkd completion bash); COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        "compopt() { :; }; _litemkd_completion litemkd; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == offered, done.stderr
