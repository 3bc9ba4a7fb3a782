"""Several processes that train one model, as torchrun starts them; with one, all of this does nothing.

Every process runs the same stages and calls what is here in the same order. The first one alone writes: runs,
models, checkpoints, features, packs. torch is imported only where there are several processes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from litemkd.errors import LitemkdError

if TYPE_CHECKING:
    from torch import Tensor, nn

P = ParamSpec("P")
R = TypeVar("R")
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")  # what torchrun tells each process
PATIENCE = timedelta(days=7)  # others wait while one prepares data; torchrun ends those whose peer has died


@dataclass(frozen=True)
class Group:
    """The processes that work together.

    Attributes:
        rank: of this one, 0 is the first.
        size: how many there are.
        local: which one on this host, the number of its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """The part of `count` things that falls to this process; parts are contiguous and in order."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)


_group = Group()


def group() -> Group:
    """The processes that work together, and which one this is."""
    return _group


def launched() -> bool:
    """Whether torchrun, or `launch`, started this process as one of several."""
    return set(_VARIABLES) <= os.environ.keys() and os.environ["WORLD_SIZE"] != "1"


def start() -> None:
    """Join the other processes that torchrun started, if it did."""
    global _group
    if not launched() or _group.size > 1:
        return
    import torch
    import torch.distributed as dist

    _group = Group(*(int(os.environ[name]) for name in _VARIABLES))
    backend = "gloo"
    if _group.local < torch.cuda.device_count():
        torch.cuda.set_device(_group.local)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=PATIENCE)


def finish() -> None:
    """Leave the others, when all have come this far."""
    global _group
    if _group.size > 1:
        import torch.distributed as dist

        dist.barrier()
        dist.destroy_process_group()
        _group = Group()


def launch(processes: int) -> int:
    """Run this very command line in several processes on this host, as torchrun does; returns the exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(cores // processes, 1)))
    how = LaunchConfig(
        run_id="litemkd",
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(how, sys.executable)("-m", "litemkd", *sys.argv[1:])
    except ChildFailedError as error:  # the processes have told what it was
        return max(error.get_first_failure()[1].exitcode, 1)
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """What is said when another process is gone: its own message is the one that tells why."""
    try:
        yield
    except RuntimeError as error:
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LitemkdError(f"another process has ended, see what it says ({told})") from error


def barrier() -> None:
    """Wait for the others."""
    if _group.size > 1:
        broadcast(None)
        gather(None)


def broadcast(value: R) -> R:
    """The first process's value, a plain one."""
    if _group.size == 1:
        return value
    import torch.distributed as dist

    box = [value]
    with _peers():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: R) -> list[R]:
    """Every process's value, a plain one, in their order."""
    if _group.size == 1:
        return [value]
    import torch.distributed as dist

    found: list[Any] = [None] * _group.size
    with _peers():
        dist.all_gather_object(found, value)
    return found


def from_main(function: Callable[P, R]) -> Callable[P, R]:
    """`function` is called by the first process alone; all get what it returns."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return broadcast(function(*args, **kwargs) if _group.main else None)  # type: ignore[return-value]

    return run


def main_first(function: Callable[P, R]) -> Callable[P, R]:
    """`function` is called by the first process, then by the others, who find done what it did."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _group.main:
            barrier()
            return function(*args, **kwargs)
        result = function(*args, **kwargs)
        barrier()
        return result

    return run


def sum_values(values: Mapping[str, float]) -> dict[str, float]:
    """Sums over the processes of named values; who lacks a name adds nothing."""
    total: dict[str, float] = {}
    for own in gather(dict(values)):
        for name, value in own.items():
            total[name] = total.get(name, 0.0) + value
    return total


def sum_gradients(model: nn.Module) -> None:
    """Every weight's gradient becomes the sum over the processes; one that nobody has stays None."""
    if _group.size == 1:
        return
    import torch

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    known = [any(each) for each in zip(*gather([weight.grad is not None for weight in weights]), strict=True)]
    used = [weight for weight, one in zip(weights, known, strict=True) if one]
    for weight in used:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    _sum_in_place([weight.grad for weight in used if weight.grad is not None])


def average_statistics(model: nn.Module, batches: int) -> None:
    """Running statistics of batch norm become the mean over the processes, by the batches each has seen.

    Norms in eval mode have seen none, and keep theirs to the bit.
    """
    if _group.size == 1:
        return
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [one for one in model.modules() if isinstance(one, _BatchNorm) and one.training]
    running = [x for norm in norms for x in (norm.running_mean, norm.running_var) if x is not None]
    share = batches / sum(gather(batches))
    with torch.no_grad():
        for x in running:
            x.mul_(share)
        _sum_in_place(running)


def gather_rows(rows: Tensor) -> Tensor:
    """The rows (n, …) of all processes, in their order; n may differ from one to the next."""
    if _group.size == 1:
        return rows
    import torch
    import torch.distributed as dist

    counts = gather(len(rows))
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    with _peers():
        dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _sum_in_place(tensors: list[Tensor]) -> None:
    """Sum each of the tensors over the processes; one message for each kind."""
    import torch
    import torch.distributed as dist

    for kind in dict.fromkeys((x.dtype, x.device) for x in tensors):
        alike = [x for x in tensors if (x.dtype, x.device) == kind]
        flat = torch.cat([x.reshape(-1) for x in alike])
        with _peers():
            dist.all_reduce(flat)
        for x, part in zip(alike, flat.split([x.numel() for x in alike]), strict=True):
            x.copy_(part.view_as(x))
