"""The machine: what computes, what films can be read, and where there is room."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from litemkd.cost.energy import Absent, Estimate, meter_of
from litemkd.doctor.finding import Finding, State

LEAST = 1.0  # GB that should be free where something is written
_CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2video", "mjpeg", "wmv3")
_NEEDED = "h264"  # what most recordings are, and the toy data set


def devices() -> Iterator[Finding]:
    """Processor, memory and GPUs, as torch sees them."""
    import torch

    from litemkd.tracking.environment import hardware

    lines = [line.partition(": ") for line in hardware()]
    for name, _, value in lines:
        if name in ("processor", "memory"):
            yield Finding("devices", name, value)
    yield Finding("devices", "torch threads", str(torch.get_num_threads()))
    seen = [value for name, _, value in lines if name == "gpu" and value != "none"]
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            free, total = torch.cuda.mem_get_info(number)
            words = (
                f"{about.name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, CUDA {torch.version.cuda}"
            )
            yield Finding("devices", f"cuda:{number}", words)
    elif seen or Path("/proc/driver/nvidia/version").exists():
        there = "; ".join(seen) or "a driver is loaded"
        words = f"there is one ({there}), and torch {torch.__version__} cannot use it"
        would = "a torch built for CUDA, and a driver that is new enough for it, would do"
        yield Finding("devices", "gpu", words, "wrong", would)
    else:
        yield Finding("devices", "gpu", "none; models train on the CPU", "note")
    yield from energy(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])


def energy(devices: Iterable[str]) -> Iterator[Finding]:
    """Whether joules of a clip can be told of these devices, and why not."""
    for device in devices:
        name = f"energy of {device}"
        match meter_of(device):
            case Absent(why, would):
                yield Finding("devices", name, f"not told: {why}", "note", would)
            case Estimate(instead=Absent(why, would)):
                yield Finding("devices", name, f"estimated by codecarbon: {why}", "note", would)
            case meter:
                yield Finding("devices", name, f"counted by {meter.name}")


def codecs() -> Iterator[Finding]:
    """Which kinds of film PyAV decodes here."""
    import av

    yield Finding(
        "codecs",
        "ffmpeg",
        ", ".join(f"{name} {'.'.join(map(str, one))}" for name, one in av.library_versions.items()),
    )
    missing = [name for name in _CODECS if not _decodes(name)]
    there = [name for name in _CODECS if name not in missing]
    yield Finding("codecs", "decodes", ", ".join(there) or "none of those asked for")
    if missing:
        state: State = "wrong" if _NEEDED in missing else "note"
        would = "PyAV's own wheel, pip install --force-reinstall --only-binary av av, would do"
        yield Finding("codecs", "does not decode", ", ".join(missing), state, would)


def _decodes(name: str) -> bool:
    import av

    try:
        av.Codec(name, "r")
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def disk(folders: Iterable[tuple[str, Path]]) -> Iterator[Finding]:
    """Free space, and the right to write, where litemkd writes.

    Args:
        folders: what goes there, and where; a folder that is not there is made when it is needed.
    """
    for name, folder in (*folders, ("temporary files", Path(tempfile.gettempdir()))):
        there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
        free = shutil.disk_usage(there).free / 1e9
        words = f"{free:.1f} GB free in {folder.absolute()}"
        if not os.access(there, os.W_OK | os.X_OK):
            words = f"{there} may not be written to"
            yield Finding("disk", name, words, "wrong", "another folder, or other permissions, would do")
        elif free < LEAST:
            yield Finding("disk", name, words, "wrong", f"{LEAST:g} GB or more would do")
        else:
            yield Finding("disk", name, words)
