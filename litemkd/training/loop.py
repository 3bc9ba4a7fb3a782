"""The training loop, the same for experts, teacher and student.

It knows a `TrainingObjective` (a model, the loss of a batch of episodes, validation) and a `Tracker` that takes
metrics; it knows neither MLflow nor files other than its own checkpoints. The order of episodes, their
augmentation and dropout are functions of the seed and the episode's number, so a resumed run sees what an
uninterrupted one sees.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from litemkd.config import TrainConfig
from litemkd.evaluation.accuracy import Evaluation
from litemkd.runtime.distributed import average_statistics, barrier, sum_gradients
from litemkd.runtime.distributed import group as processes
from litemkd.runtime.progress import Bar
from litemkd.runtime.seeding import seed_torch
from litemkd.runtime.stopping import Stop, held_back
from litemkd.storage.checkpoints import load_state, load_weights, save_state
from litemkd.storage.states import CheckpointFolder
from litemkd.training.gathering import Gathered, refuse_infinite
from litemkd.training.speed import Speed

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Takes metrics; the step of a training metric is the number of episodes seen."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values at a step."""


# Called after a validation: the evaluation of the val episodes, and the number of episodes seen.
OnValidation = Callable[[Evaluation, int], None]


@dataclass(frozen=True)
class Step:
    """A batch of episodes: its loss () and the values to report, where they were computed."""

    loss: Tensor
    told: Mapping[str, Tensor | float]
    waited: float = 0.0  # seconds for data

    @property
    def metrics(self) -> dict[str, float]:
        """What is reported, as numbers, which a device is waited for."""
        return {name: float(value) for name, value in self.told.items()}


class TrainingObjective(Protocol):
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
    speed: dict[str, float] = field(default_factory=dict, compare=False)  # metrics of this process's steps

    @property
    def words(self) -> str:
        """How it stands on val: the last accuracy, and the best one if that was another."""
        if not self.history:
            return "val not read yet"
        last = self.history[-1]
        words = f"val {last['accuracy']:.2f} ± {last['ci95']:.2f} %"
        if last["episodes"] != self.best_episode:
            words += f", best {self.best_accuracy:.2f} % at {self.best_episode}"
        return words

    @property
    def validated(self) -> float:
        """Episodes at the last validation."""
        return self.history[-1]["episodes"] if self.history else 0


def fit(
    objective: TrainingObjective,
    train: TrainConfig,
    *,
    seed: int,
    tracker: Tracker,
    checkpoints: CheckpointFolder,
    resume: bool = False,
    label: str = "train",
    on_validation: OnValidation | None = None,
) -> Progress:
    """Train `objective.model` and leave it in eval mode with the weights that were best on val.

    Being told to stop (SIGINT, SIGTERM, SIGHUP) is held back until the state is saved: until the batch of
    episodes is done, or the step where that was its last one; not in a validation, which is then begun anew.

    Args:
        objective: model, loss and validation.
        train: optimiser, schedule and length.
        seed: of dropout.
        tracker: takes the metrics. A training that goes on tells it once more what it told before.
        checkpoints: where the state goes at each validation, and between them when its time has come.
        resume: go on from `checkpoints` if there is a state.
        label: of the progress bar.
        on_validation: called after every validation once the state is on disk; what it raises ends the
            training.

    Raises:
        CheckpointError: the state does not fit the model, or none is whole.
        LitemkdError: the loss is not finite.
    """
    training = Training(objective, train, seed, tracker, checkpoints, label)
    log.info("%s: checkpoints take up to %.0f MB in %s", label, training.megabytes, checkpoints.folder)
    if resume and (state := checkpoints.load()) is not None:
        training.restore(state)
        barrier()  # none is replaced before all have read it
        log.info("%s: goes on after %d of %d episodes", label, training.progress.episodes, train.episodes)
    else:
        checkpoints.clear()
    progress, due = training.progress, validation_episodes(train)
    with (
        held_back() as stop,
        Bar(total=train.episodes, initial=progress.episodes, desc=label, unit="episode") as bar,
    ):
        while True:
            if progress.episodes in due and progress.validated < progress.episodes:
                evaluation = training.validate(stop)
                bar.state(progress.words)
                bar.refresh()
                training.save()
                if on_validation is not None:
                    on_validation(evaluation, progress.episodes)
            elif checkpoints.due() or stop.told:
                training.save()
            stop.take()
            if progress.episodes >= train.episodes:
                break
            before = progress.episodes
            with training.speed.steps():
                training.step(stop)
            training.speed.episodes += progress.episodes - before
            bar.update(progress.episodes - before)
            if training.last:
                bar.state(f"loss {training.last['train/loss']:.3f}, {progress.words}")
    progress.speed = training.speed.metrics
    if progress.speed:
        log.info("%s: %s", label, training.speed.words)
    best = load_state(checkpoints.best)
    objective.model.load_state_dict(best["model"])
    objective.model.eval()
    return progress


class Training:
    """What changes while a model is trained, and how: by steps and validations; arguments as of `fit`."""

    def __init__(
        self,
        objective: TrainingObjective,
        train: TrainConfig,
        seed: int,
        tracker: Tracker,
        checkpoints: CheckpointFolder,
        label: str,
    ) -> None:
        self.objective, self.model, self.train = objective, objective.model, train
        self.seed, self.label = seed, label
        self.device = next(self.model.parameters()).device
        self.tracker, self.checkpoints = tracker, checkpoints
        self.optimizer = make_optimizer(self.model, train)
        half = _precision(self.device, train) is torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        self.averaged = (
            AveragedModel(self.model, multi_avg_fn=_averaging(train.average), use_buffers=True)
            if train.average
            else None
        )
        self.progress = Progress()
        self.logged: list[tuple[int, dict[str, float]]] = []  # all metrics that the tracker got
        self.gathered, self.speed = Gathered(label, self.device), Speed(self.device)
        self.last: dict[str, float] = {}  # metrics of the last step that was read

    @property
    def megabytes(self) -> float:
        """The most that the checkpoints take on disk: the states, the next one, and the best weights."""
        weights = _bytes(self.model.state_dict().values())
        trained = _bytes(weight for weight in self.model.parameters() if weight.requires_grad)
        copies = {"sgd": int(self.train.momentum > 0)}.get(self.train.optimizer, 2)
        state = weights * (1 + bool(self.train.average)) + trained * copies
        return (state * (self.checkpoints.keep + 1) + 2 * weights) / 1e6

    def log(self, metrics: Mapping[str, float], episodes: int) -> None:
        """Hand the tracker metrics after so many episodes."""
        self.logged.append((episodes, dict(metrics)))
        self.tracker.log_metrics(metrics, episodes)

    def read(self) -> None:
        """Hand the tracker what steps have left on the device."""
        for episodes, metrics in self.gathered.read():
            self.log(metrics, episodes)
            self.last = metrics

    def save(self) -> None:
        """Save the state."""
        self.read()
        self.checkpoints.save(
            {
                "progress": asdict(self.progress),
                "told": self.logged,
                "model": self.model.state_dict(),
                "kind": self.train.optimizer,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "averaged": None if self.averaged is None else self.averaged.state_dict(),
            }
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; settings of the training may have changed since, the model may not.

        Raises:
            CheckpointError: it is of another model.
        """
        load_weights(self.model, state["model"], self.checkpoints.folder)
        if state["kind"] == self.train.optimizer:
            settings = [{**group, "params": []} for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(state["optimizer"])
            for group, own in zip(self.optimizer.param_groups, settings, strict=True):
                group.update({key: value for key, value in own.items() if key != "params"})
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.averaged is not None and state["averaged"] is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.progress = Progress(**state["progress"])
        for step, metrics in state["told"]:
            self.logged.append((step, metrics))
            self.tracker.log_metrics(metrics, step)

    def step(self, stop: Stop) -> None:
        """One step of the optimiser, on the next episodes."""
        train, model = self.train, self.model
        first = self.progress.episodes
        last = min(first + train.accumulate, train.episodes)
        set_rate(self.optimizer, train, first)
        model.train()
        sums: dict[str, Tensor | float] = {}
        losses: dict[int, Tensor] = {}
        batches, following = own_batches(train, first), own_batches(train, last)
        following = [*batches[1:], *following[:1]]
        buffers = [buffer.clone() for buffer in model.buffers()] if len(batches) > 1 else []
        for numbers, after in itertools.zip_longest(batches, following[: len(batches)]):
            if after is not None:
                self.objective.expect(after)
            share = len(numbers) / (last - first)
            step = self._forward(numbers)
            self.scaler.scale(step.loss * share).backward()
            losses[numbers.start] = step.loss.detach()
            self.speed.waited += step.waited
            for name, value in step.told.items():
                wide = value.double() if isinstance(value, Tensor) else value
                sums[name] = sums.get(name, 0.0) + share * wide
            if stop.told and numbers is not batches[-1]:
                self._leave(buffers, stop)
        sum_gradients(model)
        average_statistics(model, len(batches))
        if train.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), train.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.averaged is not None:
            self.averaged.update_parameters(model)
        self.progress.episodes = last
        self.gathered.add(last, sums, {"train/lr": self.optimizer.param_groups[0]["lr"]}, losses)
        if self.gathered.due():
            self.read()
            self.speed.look()

    def _forward(self, numbers: range) -> Step:
        seed_torch(self.seed, "step", numbers.start)
        mixed = _mixed(self.device, self.train)
        with torch.autocast(self.device.type, _precision(self.device, self.train), enabled=mixed):
            step = self.objective.step(numbers)
        if self.device.type == "cpu":  # known already; a device is asked later, before anything is saved
            refuse_infinite(self.label, {numbers.start: float(step.loss.detach())})
        return step

    def _leave(self, buffers: Sequence[Tensor], stop: Stop) -> None:
        """Stop in the middle of a step, with the state from before it: weights have not changed yet."""
        now = [buffer.clone() for buffer in self.model.buffers()]
        self._set(buffers)
        self.save()
        self._set(now)
        stop.take()

    def _set(self, buffers: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for buffer, value in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(value)

    def validate(self, stop: Stop) -> Evaluation:
        """Read val, and keep the weights if they are the best so far."""
        self.read()
        model = self.model if self.averaged is None else self.averaged.module
        try:
            with stop.at_once():
                if self.train.recalibrate:
                    model = copy.deepcopy(model)
                    self.objective.recalibrate(model, self.train.recalibrate)
                model.eval()
                evaluation = self.objective.validate(model)
        except BaseException:
            if stop.told:
                self.save()
            raise
        accuracy, progress = evaluation.accuracy, self.progress
        self.log({"val/accuracy": accuracy.mean, "val/accuracy_ci95": accuracy.half}, progress.episodes)
        record = {"episodes": progress.episodes, "accuracy": accuracy.mean, "ci95": accuracy.half}
        progress.history.append(record)
        if accuracy.mean > progress.best_accuracy:
            progress.best_accuracy, progress.best_ci95 = accuracy.mean, accuracy.half
            progress.best_episode = progress.episodes
            save_state(self.checkpoints.best, {"episodes": progress.episodes, "model": model.state_dict()})
        return evaluation


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


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
    fused: dict[str, Any] = (
        {"fused": True} if any(one.is_cuda for one in wide) else {}
    )  # one kernel for all weights
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=train.lr, momentum=train.momentum, **fused)
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=train.lr, **fused)


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
