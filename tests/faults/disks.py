"""A small disk that is really full: a tmpfs in a mount space of its own, which ends with the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """The disk; `path` leads into the mount space of the process that holds it."""

    folder: Path
    holder: int

    @property
    def path(self) -> Path:
        return Path(f"/proc/{self.holder}/root{self.folder}")

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.path).free

    def resize(self, size: str) -> None:
        """Make space, or take it; `size` as tmpfs takes it, such as 64m."""
        command = ["nsenter", "-t", str(self.holder), "-m", "mount", "-o", f"remount,size={size}", self.folder]
        subprocess.run(command, check=True)

    def inside(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a program for which the disk lies at `folder` itself; what follows links does not find `path`."""
        enter = ["nsenter", "-t", str(self.holder), "-m", "sh", "-c", 'cd "$0" && exec "$@"', os.fspath(folder)]
        return subprocess.run(
            [*enter, *command], env=dict(environment), capture_output=True, text=True, timeout=300
        )

    def fill(self) -> Path:
        """Fill it to the last byte; gives the file that does, whose removal makes space."""
        filler = self.path / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        return filler


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Disk]:
    """A disk of this size. Skips the test where none can be made (it takes root's rights)."""
    if not all(shutil.which(tool) for tool in ("unshare", "nsenter", "mount")):
        pytest.skip("a small disk needs unshare, nsenter and mount")
    folder.mkdir(parents=True, exist_ok=True)
    script = 'mount -t tmpfs -o size="$2" tmpfs "$1" && echo ready && exec cat'
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script, "sh", os.fspath(folder), size],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin
    assert holder.stdout
    try:
        if holder.stdout.readline() != "ready\n":
            pytest.skip("a small disk cannot be mounted here: it takes root's rights")
        yield Disk(folder, holder.pid)
    finally:
        holder.communicate()  # the end of its input is its end, also when this process is killed
