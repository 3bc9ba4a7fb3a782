"""The training loop, the same for experts, teacher and student.

It knows an `Objective` (a model, the loss of a batch of episodes, validation) and a `Tracker` that takes
metrics; it knows neither MLflow nor files other than its own checkpoints. The order of episodes, their
augmentation and dropout are functions of the seed and the episode's number, so a resumed run sees what an
uninterrupted one sees.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from litemkd.checkpoints import BEST, load_state, save_state
from litemkd.config import TrainConfig
from litemkd.distributed import average_statistics, sum_gradients, sum_values
from litemkd.distributed import group as processes
from litemkd.errors import CheckpointError, LitemkdError
from litemkd.evaluation import Evaluation
from litemkd.seeding import seed_torch


class Tracker(Protocol):
    """Takes metrics; the step of a training metric is the number of episodes seen."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values at a step."""


# Told of a validation: the evaluation of the val episodes, and the number of episodes seen.
Watch = Callable[[Evaluation, int], None]


@dataclass(frozen=True)
class Step:
    """A batch of episodes: its loss () and the values to report."""

    loss: Tensor
    metrics: dict[str, float]


class Objective(Protocol):
    """What is trained."""

    @property
    def model(self) -> nn.Module:
        """The model."""

    def expect(self, numbers: Sequence[int]) -> None:
        """Told before a step: the numbers of the one after it."""

    def step(self, numbers: Sequence[int]) -> Step:
        """Loss of the training episodes of these numbers."""

    def recalibrate(self, model: nn.Module, clips: int) -> None:
        """Re-estimate the running statistics of batch norm on `clips` training clips."""

    def validate(self, model: nn.Module) -> Evaluation:
        """The model on the fixed list of val episodes."""


@dataclass
class Progress:
    """How far a run is."""

    episodes: int = 0
    best_accuracy: float = -math.inf
    best_ci95: float = math.nan
    best_episode: int = 0
    history: list[dict[str, float]] = field(default_factory=list)  # one record a validation


class CheckpointFolder:
    """`last.pt`, all that resuming needs, and `best.pt`, the weights that were best on val."""

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self.last, self.best = folder / "last.pt", folder / BEST
        self.identity = dict(identity)

    def save(self, state: Mapping[str, object]) -> None:
        """Save the training state."""
        save_state(self.last, {"identity": self.identity, **state})

    def load(self) -> dict[str, object] | None:
        """The training state, or None if there is none. CheckpointError if it is of another run."""
        if not self.last.exists():
            return None
        state = load_state(self.last)
        if state.get("identity") != self.identity:
            raise CheckpointError(
                f"{self.last}: of another configuration ({state.get('identity')}, wanted {self.identity}); "
                "leave out --resume to start anew"
            )
        return state


def fit(
    objective: Objective,
    train: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    tracker: Tracker,
    checkpoints: CheckpointFolder,
    resume: bool = False,
    label: str = "train",
    watch: Watch | None = None,
) -> Progress:
    """Train `objective.model` and leave it in eval mode with the weights that were best on val.

    Args:
        objective: model, loss and validation.
        train: optimiser, schedule and length.
        seed: of dropout.
        device: where the model is.
        tracker: takes the metrics.
        checkpoints: where the state goes at each validation.
        resume: go on from `checkpoints` if there is a state.
        label: of the progress bar.
        watch: told of every validation once the state is on disk; what it raises ends the training.

    Raises:
        LitemkdError: the loss is not finite.
    """
    model = objective.model
    optimizer = make_optimizer(model, train)
    scaler = torch.amp.GradScaler(device.type, enabled=_precision(device, train) is torch.float16)
    averaged = (
        AveragedModel(model, multi_avg_fn=_averaging(train.average), use_buffers=True)
        if train.average
        else None
    )
    progress = Progress()
    if resume and (state := checkpoints.load()) is not None:
        progress = _restore(state, model, optimizer, scaler, averaged)
    due = validation_episodes(train)

    with tqdm(total=train.episodes, initial=progress.episodes, desc=label, unit="episode") as bar:
        while progress.episodes < train.episodes:
            first = progress.episodes
            last = min(first + train.accumulate, train.episodes)
            set_rate(optimizer, train, first)
            model.train()
            sums: dict[str, float] = {}
            batches, following = own_batches(train, first), own_batches(train, last)
            following = [*batches[1:], *following[:1]]
            for numbers, after in itertools.zip_longest(batches, following[: len(batches)]):
                if after is not None:
                    objective.expect(after)
                seed_torch(seed, "step", numbers.start)
                share = len(numbers) / (last - first)
                with torch.autocast(device.type, _precision(device, train), enabled=_mixed(device, train)):
                    step = objective.step(numbers)
                if not math.isfinite(float(step.loss.detach())):
                    raise LitemkdError(
                        f"{label}: the loss became {float(step.loss.detach())} at episode {numbers.start}; "
                        "a smaller lr, a warm-up or clip_norm would do"
                    )
                scaler.scale(step.loss * share).backward()
                for name, value in step.metrics.items():
                    sums[name] = sums.get(name, 0.0) + share * value
            sum_gradients(model)
            average_statistics(model, len(batches))
            sums = sum_values(sums)
            if train.clip_norm is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), train.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            if averaged is not None:
                averaged.update_parameters(model)
            progress.episodes = last
            tracker.log_metrics(sums | {"train/lr": optimizer.param_groups[0]["lr"]}, last)
            bar.update(last - first)
            bar.set_postfix(loss=f"{sums['train/loss']:.3f}", accuracy=f"{sums['train/accuracy']:.0f}%")
            if last in due:
                evaluation = _validate(objective, train, averaged, progress, tracker, checkpoints)
                bar.write(
                    f"{label}: {last} episodes, val {progress.history[-1]['accuracy']:.2f} "
                    f"± {progress.history[-1]['ci95']:.2f} %, best {progress.best_accuracy:.2f} % "
                    f"at {progress.best_episode}"
                )
                checkpoints.save(_state(progress, model, optimizer, scaler, averaged))
                if watch is not None:
                    watch(evaluation, last)
    best = load_state(checkpoints.best)
    model.load_state_dict(best["model"])
    model.eval()
    return progress


def _validate(
    objective: Objective,
    train: TrainConfig,
    averaged: AveragedModel | None,
    progress: Progress,
    tracker: Tracker,
    checkpoints: CheckpointFolder,
) -> Evaluation:
    model = objective.model if averaged is None else averaged.module
    if train.recalibrate:
        model = copy.deepcopy(model)
        objective.recalibrate(model, train.recalibrate)
    model.eval()
    evaluation = objective.validate(model)
    accuracy = evaluation.accuracy
    tracker.log_metrics({"val/accuracy": accuracy.mean, "val/accuracy_ci95": accuracy.half}, progress.episodes)
    progress.history.append({"episodes": progress.episodes, "accuracy": accuracy.mean, "ci95": accuracy.half})
    if accuracy.mean > progress.best_accuracy:
        progress.best_accuracy, progress.best_ci95 = accuracy.mean, accuracy.half
        progress.best_episode = progress.episodes
        save_state(checkpoints.best, {"episodes": progress.episodes, "model": model.state_dict()})
    return evaluation


def own_batches(train: TrainConfig, first: int) -> list[range]:
    """Batches of the step that begins at `first` that fall to this process; none after the last step.

    Batches are dealt out one by one, so they are the same however many processes there are.
    """
    last = min(first + train.accumulate, train.episodes)
    batches = [range(start, min(start + train.batch, last)) for start in range(first, last, train.batch)]
    return batches[processes().rank :: processes().size]


def validation_episodes(train: TrainConfig) -> set[int]:
    """Numbers of seen episodes after which val is read: spread evenly over whole steps, the last included."""
    steps = math.ceil(train.episodes / train.accumulate)
    count = min(train.validations, steps)
    ends = (math.ceil(steps * (place + 1) / count) for place in range(count))
    return {min(end * train.accumulate, train.episodes) for end in ends}


def make_optimizer(model: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of the trainable weights; weight decay leaves out biases and norms."""
    wide = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    narrow = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": wide, "weight_decay": train.weight_decay},
        {"params": narrow, "weight_decay": 0.0},
    ]
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=train.lr, momentum=train.momentum)
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=train.lr)


def set_rate(optimizer: torch.optim.Optimizer, train: TrainConfig, episodes: int) -> None:
    """Set the learning rate for the step that begins after `episodes` episodes."""
    rate = train.lr
    if episodes < train.warmup:
        rate *= (episodes + train.accumulate) / (train.warmup + train.accumulate)
    elif train.schedule == "milestones":
        rate *= 0.1 ** sum(episodes >= milestone for milestone in train.milestones)
    elif train.schedule == "cosine":
        share = (episodes - train.warmup) / max(train.episodes - train.warmup, 1)
        rate *= 0.5 * (1 + math.cos(math.pi * share))
    for group in optimizer.param_groups:
        group["lr"] = rate


def _averaging(decay: float) -> Callable[..., None]:
    """The moving average of weights and buffers; whole numbers (frame indices, counts) are copied."""
    moving = get_ema_multi_avg_fn(decay)

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        if averaged[0].is_floating_point():  # torch hands over tensors of one type at a time
            moving(averaged, current, count)
        else:
            for mine, new in zip(averaged, current, strict=True):
                mine.copy_(new)

    return update


def _precision(device: torch.device, train: TrainConfig) -> torch.dtype:
    if device.type == "cuda" and train.amp and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


def _mixed(device: torch.device, train: TrainConfig) -> bool:
    return train.amp and device.type == "cuda"


def _state(
    progress: Progress,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    averaged: AveragedModel | None,
) -> dict[str, object]:
    return {
        "progress": asdict(progress),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "averaged": None if averaged is None else averaged.state_dict(),
    }


def _restore(
    state: Mapping[str, object],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    averaged: AveragedModel | None,
) -> Progress:
    model.load_state_dict(state["model"])  # type: ignore[arg-type]
    optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
    scaler.load_state_dict(state["scaler"])  # type: ignore[arg-type]
    if averaged is not None:
        averaged.load_state_dict(state["averaged"])  # type: ignore[arg-type]
    return Progress(**state["progress"])  # type: ignore[arg-type]
