"""Energy: the joules that work takes, where the machine counts them.

Processors are counted by RAPL, whose packages Linux shows below `/sys/class/powercap` (AMD's by the same name),
an NVIDIA GPU by NVML. Both count all that a package or a card draws: with idle power and the work of others,
without memory and fans beside a processor. Where nothing counts there is no figure, or, where codecarbon is
installed, its estimate of a processor, the machine's load times a constant, under a name of its own.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

POWERCAP = Path("/sys/class/powercap")
SECONDS = 2.0  # of a block at least: RAPL counts each millisecond, NVML every tenth of a second
_MIRRORED = 1_000_000  # microjoules: dies of a package that differ by less are one counter, shown twice
_KILOWATT_HOUR = 3.6e6  # joules

Work = Callable[[], object]


class Meter(ABC):
    """What tells joules: its name, and whether they are estimated."""

    name: str
    estimated = False

    @abstractmethod
    def during(self, work: Work) -> float | None:
        """Do the work; the joules that it took, None where they cannot be told."""


@dataclass(frozen=True)
class Absent:
    """Why nothing tells, and what would do."""

    why: str
    would: str = ""


@dataclass(frozen=True)
class Energy:
    """Joules of a clip, and over how many clips and seconds they were taken.

    Attributes:
        estimated: made of load and a constant, not counted.
    """

    joules_per_clip: float
    clips: int
    seconds: float
    estimated: bool = False

    @property
    def metrics(self) -> dict[str, float]:
        """As metrics of a run."""
        return {f"cost/joules_per_clip{'_estimated' * self.estimated}": self.joules_per_clip}


def energy_of(clip: Work, device: torch.device | str = "cpu") -> Energy | None:
    """Energy of passes of one clip after another, for at least `SECONDS`; None where the machine does not tell.

    Args:
        clip: one pass; it ends when the device has done it.
        device: what computes.
    """
    meter = meter_of(device)
    if isinstance(meter, Absent):
        return None
    clips, seconds = 0, 0.0

    def work() -> None:
        nonlocal clips, seconds
        begun = time.perf_counter()
        while seconds < SECONDS:
            clip()
            clips, seconds = clips + 1, time.perf_counter() - begun

    joules = meter.during(work)
    if not joules:  # in some virtual machines a counter is there and stands still
        log.warning("%s told no energy: joules of a clip are left out", meter.name)
        return None
    return Energy(joules / clips, clips, seconds, meter.estimated)


def meter_of(device: torch.device | str) -> Meter | Absent:
    """What tells the joules of a device, or why nothing does."""
    kind = str(device).partition(":")[0]
    if kind == "cuda":
        return _gpu(device)
    if kind != "cpu":
        return Absent(f"nothing here tells the energy of {kind}")
    found = _packages()
    return Estimate(found) if isinstance(found, Absent) and importlib.util.find_spec("codecarbon") else found


@dataclass(frozen=True)
class Packages(Meter):
    """RAPL: the folders of all packages, each counter with the value after which it begins anew."""

    limits: dict[Path, int]
    name = "RAPL"

    def during(self, work: Work) -> float | None:
        """Joules of all packages; a counter may begin anew once."""
        try:
            before = {path: _number(path / "energy_uj") for path in self.limits}
            work()
            taken = [
                (_number(path / "energy_uj") - before[path]) % limit for path, limit in self.limits.items()
            ]
        except OSError as error:
            log.warning("RAPL cannot be read any more (%s)", error)
            return None
        return sum(taken) / 1e6


def _packages() -> Packages | Absent:
    limits, read = dict[Path, int](), list[tuple[str, int]]()
    for path in sorted(POWERCAP.glob("intel-rapl:*")):
        counter = path / "energy_uj"
        try:
            name = (path / "name").read_text(encoding="utf-8").strip()
            if not name.startswith("package"):  # a part of one, or `psys`, which holds all of them
                continue
            value, limit = _number(counter), _number(path / "max_energy_range_uj")
        except PermissionError:
            would = f"sudo chmod a+r {POWERCAP}/intel-rapl:*/energy_uj would do, until the next start"
            return Absent(f"{counter} is not for this user to read", would)
        except (OSError, ValueError) as error:
            return Absent(f"{counter} cannot be read ({error})")
        of, _, die = name.partition("-die-")
        if not (die and any(of == other and abs(value - its) < _MIRRORED for other, its in read)):
            limits[path] = limit
        read.append((of, value))
    return Packages(limits) if limits else Absent(f"no RAPL in {POWERCAP}, as in most virtual machines")


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Gpu(Meter):
    """NVML: the counter of a GPU, by its UUID, which does not depend on which GPUs this process may see."""

    uuid: str
    name = "NVML"

    def during(self, work: Work) -> float | None:
        """Joules of the card."""
        import pynvml

        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(self.uuid)
            before = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            work()
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - before) / 1e3
        finally:
            pynvml.nvmlShutdown()


def _gpu(device: torch.device | str) -> Gpu | Absent:
    try:
        import pynvml
    except ModuleNotFoundError:
        return Absent("nvidia-ml-py is not installed", "pip install 'litemkd[gpu]' would do")
    import torch

    found = Gpu(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    try:
        found.during(lambda: None)
    except pynvml.NVMLError as error:  # a part of a GPU (MIG), or one from before Volta
        return Absent(f"NVML does not tell it ({error})")
    return found


@dataclass(frozen=True)
class Estimate(Meter):
    """codecarbon's estimate of the processor, of the machine's load and a constant, where nothing counts."""

    instead: Absent
    name = "codecarbon"
    estimated = True

    def during(self, work: Work) -> float | None:
        """Joules by estimate; codecarbon sends and writes nothing."""
        from codecarbon import OfflineEmissionsTracker

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # before it speaks of the country
        tracker = OfflineEmissionsTracker(
            country_iso_code="FRA",  # one has to be given; carbon is not asked for
            output_methods=[],
            allow_multiple_runs=True,
            log_level="critical",
            pue=1,
        )
        tracker.start()
        try:
            work()
        finally:
            tracker.stop()
        return float(tracker.final_emissions_data.cpu_energy) * _KILOWATT_HOUR
