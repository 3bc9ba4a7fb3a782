"""What a run ran on, as text: the machine, Python, and every installed package with its version."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path


def hardware() -> list[str]:
    """Lines on the machine: system, processor, memory, and NVIDIA GPUs with their driver."""
    import psutil

    lines = [
        f"system: {platform.platform()}",
        f"processor: {_processor()}, {psutil.cpu_count(logical=False)} cores, {os.cpu_count()} threads",
        f"memory: {psutil.virtual_memory().total / 2**30:.1f} GiB",
    ]
    return lines + (_gpus() or ["gpu: none"])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found.group(1) if found else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # the library or the driver is missing: both mean no GPU to speak of
        return []
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [
            f"gpu: {pynvml.nvmlDeviceGetName(handle)}, "
            f"{pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30:.1f} GiB, driver {driver}"
            for handle in handles
        ]
    except Exception as error:
        return [f"gpu: cannot be asked ({error})"]
    finally:
        pynvml.nvmlShutdown()


def packages() -> list[str]:
    """Lines `name==version`, sorted, one a distribution that Python finds."""
    every = (dist.metadata for dist in importlib.metadata.distributions())  # read anew at each look
    found = {about["Name"]: about["Version"] for about in every if about["Name"]}
    return [f"{name}=={found[name]}" for name in sorted(found, key=str.lower)]


@functools.cache  # reading all distributions takes half a second
def describe() -> str:
    """The whole text."""
    python = f"python: {platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    return "\n".join([*hardware(), python, "", *packages(), ""])


def requirements(*names: str) -> list[str]:
    """Lines `name==version` for those of `names` that are installed, without local parts (`+cu130`)."""
    lines = []
    for name in names:
        try:
            lines.append(f"{name}=={importlib.metadata.version(name).partition('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return lines
