"""What an exported student costs where it runs: bytes, milliseconds on one and on all threads, memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import litemkd_runtime
import numpy as np
from litemkd_runtime import Recogniser

from litemkd.cost.energy import energy_of

WARM_UP, PASSES = 3, 15
_SHOTS, _WAY = 5, 5

# In a process of its own, with nothing in it but what a device would have.
_ONE_CLIP = """
import json, sys, time
begun = time.perf_counter()
import numpy as np
from litemkd_runtime import Recogniser
one = Recogniser(sys.argv[1])
clips = np.zeros((2, one.exported.frames, one.exported.crop, one.exported.crop, 3), np.uint8)
rows = [tuple(x[i : i + 1] for x in one.encode(clips)) for i in (0, 1)]
way, shot = one.about["classes"]["way"] or 2, one.about["classes"]["shot"] or 1
code = tuple(x.repeat(shot, 0) for x in rows[0])
one.learn_codes({str(i): code for i in range(way)}).match(rows[1])
taken = time.perf_counter() - begun
# What the system says of the process is from before it was this program, where its parent was large.
(most,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([int(most) * 1024, taken]))
"""


def measured(folder: Path) -> dict[str, float]:
    """Metrics `cost/…` of an exported folder on this machine.

    Milliseconds are medians of a clip (all frames to its code) and of a query among 5 classes of 5 supports;
    all threads are those that this process may use. Joules are of a clip on all threads, and absent where the
    machine does not tell. Memory is the most of a process that answers once.
    """
    sizes = [file.stat().st_size for file in folder.iterdir() if file.suffix != ".md"]
    metrics = {"cost/megabytes": sum(sizes) / 1e6}
    for threads, ending in ((1, "_1_thread"), (len(os.sched_getaffinity(0)), "")):
        recogniser = Recogniser(folder, threads=threads)
        for what, value in _latency(recogniser).items():
            metrics[f"cost/ms_per_{what}{ending}"] = value
    clip = _clip(recogniser)
    energy = energy_of(lambda: recogniser.encode(clip))
    metrics |= energy.metrics if energy else {}
    memory, seconds = _answer_once(folder)
    return metrics | {"cost/peak_memory_mb": memory / 1e6, "cost/first_answer_s": seconds}


def _latency(recogniser: Recogniser) -> dict[str, float]:
    clip = _clip(recogniser)
    code = recogniser.encode(clip)
    fixed = recogniser.exported.about["classes"]
    table = (1, fixed["way"] or _WAY, fixed["shot"] or _SHOTS)
    support = tuple(np.broadcast_to(x[:, None, None], (*table, *x.shape[1:])).copy() for x in code)
    query, present = tuple(x[None] for x in code), np.ones(table, bool)
    return {
        "clip": _median(lambda: recogniser.encode(clip)),
        "query": _median(lambda: recogniser.match_table(present, support, query)),
    }


def _clip(recogniser: Recogniser) -> np.ndarray:
    """A clip (1, T, H, W, 3), the same always."""
    about = recogniser.exported
    return np.random.default_rng(0).integers(0, 256, (1, about.frames, about.crop, about.crop, 3), np.uint8)


def _median(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(WARM_UP + PASSES):
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken[WARM_UP:])


def _answer_once(folder: Path) -> tuple[int, float]:
    """Bytes at most, and seconds from the first import to the first answer."""
    where = str(Path(litemkd_runtime.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([where, os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-c", _ONE_CLIP, str(folder)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    memory, seconds = json.loads(done.stdout.splitlines()[-1])
    return int(memory), float(seconds)
