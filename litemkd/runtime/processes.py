"""Which process a run or a trial belongs to, and whether it is still alive."""

from __future__ import annotations

import os
import platform
import signal
from multiprocessing import parent_process
from pathlib import Path

import psutil


def this_host() -> str:
    """A name of this machine; a container with processes of its own is another machine."""
    try:
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        space = ""
    return f"{platform.node()}/{space}"


def this_process() -> str:
    """A name of this process that no other one ever has."""
    return f"{this_host()} {os.getpid()} {psutil.Process().create_time():.2f}"


def end_with_parent() -> None:
    """Stop when the process that started this one is gone, as if it had been interrupted; for a thread."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def is_gone(owner: str) -> bool | None:
    """Whether a process is no more; None for one of another machine, of which nothing is known, or of ""."""
    if not owner:
        return None
    host, pid, begun = owner.rsplit(" ", 2)
    if host != this_host():
        return None
    try:
        process = psutil.Process(int(pid))
        return abs(process.create_time() - float(begun)) > 0.1 or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
