"""Works of training: an episode's input, TRX's head, and a student's step, forwards, backwards and update."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.data import large_clips
from benchmarks.making import config_of, our_device, source, student_of, their_device
from benchmarks.published.frames import FrameFolders
from benchmarks.published.student import TwoPassStudent
from benchmarks.published.trx import LoopTRX
from benchmarks.sizes import WAY, Sizes, T
from benchmarks.work import Part, Setting, Side, Work
from litemkd.data.episodes import EpisodeSampler
from litemkd.data.packs.clips import Augmentation
from litemkd.data.packs.crops import crop_clips
from litemkd.evaluation.accuracy import ValEpisodes
from litemkd.losses import LABELS
from litemkd.models.heads.trx import TRX
from litemkd.runtime.seeding import seed_torch
from litemkd.training.loop import make_optimizer
from litemkd.training.objectives import EpisodeTensors, StudentObjective


def _rows(setting: Setting, number: int) -> np.ndarray:
    """The clips of a training episode."""
    sizes = setting.sizes
    count = WAY * (sizes.shot + sizes.queries)
    return np.random.default_rng(number).choice(sizes.clips, count, replace=False)


def our_input(setting: Setting) -> Side:
    our_device(setting)
    pack = large_clips(setting.folder, setting.sizes).pack

    def read(number: int) -> np.ndarray:
        rng = np.random.default_rng((1, number))
        return crop_clips(pack, _rows(setting, number), setting.sizes.crop, rng)

    return Side(lambda: {"pixels": read(0)}, (Part(read),))


def their_input(setting: Setting) -> Side:
    their_device(setting)
    clips = large_clips(setting.folder, setting.sizes)
    folders = FrameFolders(clips.jpegs, clips.split.videos, setting.sizes.crop)

    def read(number: int) -> np.ndarray:
        rows = _rows(setting, number)
        draws = np.random.default_rng((1, number)).random((len(rows), 4))
        return np.stack(
            [
                folders.augmented(clips.split.videos[row], down, across, flip < 0.5)
                for row, (_, down, across, flip) in zip(rows, draws, strict=True)
            ]
        )

    return Side(lambda: {"pixels": read(0)}, (Part(read),))


def _head(setting: Setting, device: torch.device) -> tuple[TRX, Tensor, Tensor, Tensor]:
    """A head in training mode without dropout, features of supports and queries, labels in mixed order."""
    sizes = setting.sizes
    seed_torch(0, "benchmark")
    head = TRX(sizes.dim, width=sizes.head_width, frames=T, dropout=0.0).to(device)
    support, query = (
        torch.randn(WAY * each, T, sizes.dim, device=device, requires_grad=True)
        for each in (sizes.shot, sizes.queries)
    )
    labels = torch.arange(WAY, device=device).repeat(sizes.shot)
    return head, support, labels, query


def _head_side(head: TRX, support: Tensor, query: Tensor, forward: Callable[[], Tensor]) -> Side:
    wanted = [*head.parameters(), support, query]

    def step(_: int) -> Tensor:
        for x in wanted:
            x.grad = None
        logits = forward()
        nn.functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device) % WAY).backward()
        return logits

    def answer() -> dict[str, Tensor]:
        logits = step(0)
        # As one: some single ones (of the values' bias) are zero but for rounding.
        gradients = torch.cat([_gradient(x).flatten() for x in wanted])
        return {"logits": logits.detach().cpu(), "gradients": gradients}

    return Side(answer, (Part(step),))


def _gradient(x: Tensor) -> Tensor:
    assert x.grad is not None
    return x.grad.cpu()


def our_head(setting: Setting) -> Side:
    head, support, labels, query = _head(setting, our_device(setting))
    return _head_side(
        head, support, query, lambda: head(support[None], labels[None], query[None], WAY).squeeze(0)
    )


def their_head(setting: Setting) -> Side:
    head, support, labels, query = _head(setting, their_device(setting))
    loops = LoopTRX(head)
    return _head_side(head, support, query, lambda: loops(support, labels, query))


def _objective(setting: Setting, backbone: str, device: torch.device) -> StudentObjective:
    """Training of both branches on labels alone."""
    sizes = setting.sizes
    clips = large_clips(setting.folder, sizes)
    frames = source(setting, clips.pack, clips.split, device)
    sampler = EpisodeSampler(clips.split, way=WAY, shot=sizes.step_shot, queries=sizes.step_shot, seed=0)
    return StudentObjective(
        student_of(setting, backbone, device),
        clips=frames,
        sampler=sampler,
        loss=LABELS,
        augmentation=Augmentation(),
        val=ValEpisodes(frames, sampler, 1),
    )


def _step_side(
    setting: Setting, objective: StudentObjective, backbone: str, loss: Callable[[int], Tensor]
) -> Side:
    """Steps of the objective's model; the answer is given in eval mode, where one pass and two are the same."""
    model = objective.model
    optimizer = make_optimizer(model, config_of(setting, backbone).student.train)

    def answer() -> dict[str, Any]:
        model.eval()
        value = loss(0)
        value.backward()
        chosen = [x for x in model.parameters() if x.ndim > 1]
        found = {f"gradient {n}": _gradient(chosen[n]) for n in (0, len(chosen) // 2, len(chosen) - 1)}
        optimizer.zero_grad()
        model.train()
        # A single number has no range: a second one beside it gives it its own size.
        return {"loss": np.array([0.0, float(value.detach())])} | found

    def step(number: int) -> None:
        loss(number).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return Side(answer, (Part(step),))


def our_step(setting: Setting, backbone: str) -> Side:
    objective = _objective(setting, backbone, our_device(setting))
    return _step_side(setting, objective, backbone, lambda number: objective.step([number]).loss)


def their_step(setting: Setting, backbone: str) -> Side:
    device = their_device(setting)
    objective = _objective(setting, backbone, device)
    model = TwoPassStudent(objective.model)
    at = EpisodeTensors.of(objective.sampler[[0]], device)
    frames = objective.clips.augmented(at.videos, Augmentation(), 0, 0)
    support, query = frames[at.support[0]].contiguous(), frames[at.query[0]].contiguous()

    def loss(_: int) -> Tensor:
        logits = model(support, at.support_labels[0], query)
        return torch.stack([nn.functional.cross_entropy(x, at.query_labels[0]) for x in logits.values()]).sum()

    return _step_side(setting, objective, backbone, loss)


def works(sizes: Sizes) -> list[Work]:
    """The works of this file."""
    clips = WAY * (sizes.shot + sizes.queries)
    stepped = 2 * WAY * sizes.step_shot
    return [
        Work(
            "input",
            f"pixels of a training episode, {clips} clips x {T} frames, {sizes.crop} px, one process",
            our_input,
            their_input,
            "all",
            at_least=30,
            repetitions=9,
        ),
        Work(
            "head",
            f"TRX forward and backward, {WAY * sizes.shot} supports, {WAY * sizes.queries} queries, "
            f"{sizes.dim} to {sizes.head_width}",
            our_head,
            their_head,
            "all",
            at_least=3,
            tolerance=1e-3,
            repetitions=7,
        ),
        *(
            Work(
                f"step-{name.replace('mobilenet_v3_', '')}",
                f"training step of {called}, {stepped} clips x {T} frames, {sizes.crop} px",
                partial(our_step, backbone=name),
                partial(their_step, backbone=name),
                "an episode of 1 shot and 1 query; the published side's frames are in memory",
                at_least=at_least,
                tolerance=1e-2,
                repetitions=3,
            )
            for name, called, at_least in (
                ("mobilenet_v3_small", "MobileNetV3-small", 2),
                ("mobilenet_v3_large", "MobileNetV3-large", 1.3),
                ("resnet18", "ResNet18", 1.3),
            )
        ),
    ]
