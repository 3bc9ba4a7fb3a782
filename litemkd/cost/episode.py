"""What a model costs in one episode: MACs as thop counts them, exact FLOPs, parameters, and latency of a video.

Counts are made of single passes times how often an episode needs them: one frame through the backbone, one
video to its codes, and one matching. All but the matching is counted on copies without data, so that neither
240 frames nor a second set of weights is ever in memory.

Two forms are counted: the evaluation form, which is what this code computes (`litemkd.models.folding`), and the
plain one, in which costs were published: batch norms, branches and projections of concatenated frame tuples one
after another.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from litemkd.cost.counting import Count, count, meta, set_plain, without_data
from litemkd.cost.energy import Energy, energy_of
from litemkd.models.backbones import Backbone
from litemkd.models.experts import WholeClips
from litemkd.models.folding import EvaluationForm, deployed, fold_norms
from litemkd.models.heads import Code, Folded, Head
from litemkd.models.student import Student
from litemkd.models.teacher import Teacher

M = TypeVar("M", bound=nn.Module)

GIGA = 1e9
WARM_UP, PASSES = 2, 5  # forward passes of a latency: untimed, timed


@dataclass(frozen=True)
class EpisodeSize:
    """The episode that is counted: W, K, queries of each class, T, and the side of a frame in pixels."""

    way: int = 5
    shot: int = 5
    queries: int = 1
    frames: int = 8
    size: int = 224

    @property
    def videos(self) -> int:
        """V, supports and queries."""
        return self.way * (self.shot + self.queries)


@dataclass(frozen=True)
class Latency:
    """Median time of a forward pass of one video, all frames, batch one; and where it was taken.

    Attributes:
        threads: of torch on the CPU.
        energy: of more such passes; None where the machine does not tell.
    """

    ms_per_video: float
    passes: int
    device: str
    threads: int
    energy: Energy | None


@dataclass(frozen=True)
class Cost:
    """The cost of a model.

    Attributes:
        episode: what was counted.
        parts: work per episode of each part of the evaluation form, by name. Of a student: `backbone`, `encode`
            (branches and the head's first step) and `match`; of a teacher: its experts, `fusion` and `head`.
        plain: the same of the published form.
        params_m: parameters, in millions; of a backbone in the form that it is deployed in.
        latency: None when it was not asked for.
    """

    episode: EpisodeSize
    parts: Mapping[str, Count]
    plain: Mapping[str, Count]
    params_m: float
    latency: Latency | None

    @property
    def total(self) -> Count:
        """Work per episode as this code does it."""
        return sum(self.parts.values(), Count())

    @property
    def total_plain(self) -> Count:
        """Work per episode in the published form."""
        return sum(self.plain.values(), Count())

    @property
    def gmacs_per_episode(self) -> float:
        """As thop counts, of what this code does."""
        return self.total.macs / GIGA

    @property
    def gmacs_per_episode_plain(self) -> float:
        """As thop counts, of the published form; the "GFLOPs" of papers in this field."""
        return self.total_plain.macs / GIGA

    @property
    def gflops_per_episode(self) -> float:
        """Exact, of what this code does."""
        return self.total.flops / GIGA

    @property
    def gflops_per_episode_plain(self) -> float:
        """Exact, of the published form."""
        return self.total_plain.flops / GIGA

    @property
    def gmacs_per_frame(self) -> float:
        """`gmacs_per_episode` shared out over the frames of all videos."""
        return self.gmacs_per_episode / (self.episode.videos * self.episode.frames)


def measure(student: Student, episode: EpisodeSize, *, device: torch.device, latency: bool = True) -> Cost:
    """Cost of a student: backbone, branches, head. The student is left as it was found.

    Args:
        student: in any mode; its backbone and branches may be on the meta device when no latency is wanted, but
            not its head.
        episode: what to count; T must be the one that the head was made for.
        device: where latency is measured.
        latency: measure it too: a few passes of one video through the evaluation form up to its codes.
    """
    empty = without_data(student).eval()
    branches = list(empty.branches.values())
    parts, plain = {}, {}
    features, parts["backbone"] = _count_backbone(fold_norms(empty.backbone), episode)
    _, plain["backbone"] = _count_backbone(empty.backbone, episode)
    for form, make in ((parts, _folded), (plain, _published)):
        form["encode"], form["match"] = _count_head(make, branches, student.head, features, episode)
    return Cost(
        episode,
        parts,
        plain,
        _millions(student),
        _student_latency(student, episode, device) if latency else None,
    )


def measure_teacher(
    experts: Mapping[str, Student],
    teacher: Teacher,
    episode: EpisodeSize,
    *,
    device: torch.device,
    latency: bool = True,
) -> Cost:
    """Cost of the whole teacher: the experts of its modalities up to their features, fusion, head.

    Making the modalities (optical flow, depth, skeletons) from RGB is not counted. The experts' own heads take
    no part and are not counted either.

    Args:
        experts: students of one branch, by modality; those whose features are read from disk are left out, and
            then not counted.
        teacher: its fusion, like the experts, may be on the meta device without latency, its head not.
        episode: as in `measure`.
        device: as in `measure`.
        latency: as in `measure`.
    """
    parts, plain = {}, {}
    for name, expert in experts.items():
        empty = without_data(expert).eval()
        (branch,) = empty.branches.values()
        features, backbone = _count_backbone(fold_norms(empty.backbone), episode)
        _, plain_backbone = _count_backbone(empty.backbone, episode)
        _, of_video = count(branch, meta(*features))
        parts[f"expert_{name}"] = backbone + of_video * episode.videos
        plain[f"expert_{name}"] = plain_backbone + of_video * episode.videos
    streams = {name: meta(1, episode.frames, width) for name, width in teacher.fusion.widths.items()}
    fused, of_video = count(without_data(teacher), streams, method="fuse")
    for form, make in ((parts, _folded), (plain, _published)):
        form["fusion"] = of_video * episode.videos
        form["head"] = sum(_count_head(make, [nn.Identity()], teacher.head, fused.shape, episode), Count())
    working = [teacher, *(part for expert in experts.values() for part in (expert.backbone, expert.branches))]
    return Cost(
        episode,
        parts,
        plain,
        sum(_millions(part) for part in working),
        _teacher_latency(experts, teacher, episode, device) if latency else None,
    )


def _folded(branch: nn.Module, head: Head) -> Folded:
    """Branch and head as evaluation has them."""
    set_plain(head, False)
    return head.folded(branch)


def _published(branch: nn.Module, head: Head) -> Folded:
    """Branch and head one after the other, with concatenated tuples."""
    set_plain(head, True)
    return Folded(branch, head)


def _count_backbone(backbone: Backbone | WholeClips, episode: EpisodeSize) -> tuple[torch.Size, Count]:
    """The shape (1, T[, places], C) of a video's features, and the work per episode."""
    at_once = 1 if backbone.any_length else episode.frames
    features, once = count(backbone, meta(*_clip(backbone, at_once, episode.size)))
    times = episode.videos * episode.frames // at_once
    return torch.Size([1, episode.frames, *features.shape[2:]]), once * times


def _clip(backbone: Backbone | WholeClips, frames: int, side: int) -> tuple[int, ...]:
    """The shape of one clip as a network takes it."""
    takes = backbone.takes if isinstance(backbone, WholeClips) else ()
    return (1, *(takes or (frames, 3, side, side)))


def _count_head(
    make: Callable[[nn.Module, Head], Folded],
    branches: Sequence[nn.Module],
    head: Head,
    features: torch.Size,
    episode: EpisodeSize,
) -> tuple[Count, Count]:
    """Work per episode of encoding and of matching, all branches together.

    Matching looks at labels, so it is counted on real numbers; it sees codes only and is cheap.
    """
    encode = Count()
    code: Code = ()
    with torch.no_grad():
        for branch in branches:
            code, of_video = count(make(branch, without_data(head)), meta(*features), method="encode")
            encode += of_video * episode.videos
        matcher = make(nn.Identity(), copy.deepcopy(head).cpu()).eval()
    support, query = (
        tuple(torch.ones(1, episode.way * each, *x.shape[1:]) for x in code)
        for each in (episode.shot, episode.queries)
    )
    labels = torch.arange(episode.way).repeat_interleave(episode.shot)[None]
    _, match = count(matcher, support, labels, query, episode.way, method="match")
    return encode, match * len(branches)


def _student_latency(student: Student, episode: EpisodeSize, device: torch.device) -> Latency:
    with _ready(student, device) as model:
        form, frames = EvaluationForm(model), _noise(model, episode, device)
        return _time(lambda: form.encode(form.frame_features(frames)), device)


def _teacher_latency(
    experts: Mapping[str, Student], teacher: Teacher, episode: EpisodeSize, device: torch.device
) -> Latency:
    with ExitStack() as stack:
        ready = {name: stack.enter_context(_ready(expert, device)) for name, expert in experts.items()}
        backbones = {name: fold_norms(expert.backbone) for name, expert in ready.items()}
        model = stack.enter_context(_ready(teacher, device))
        head = model.head.folded(nn.Identity())
        clips = {name: _noise(expert, episode, device) for name, expert in ready.items()}
        stored = {
            name: torch.ones(1, episode.frames, width, device=device)
            for name, width in teacher.fusion.widths.items()
        }

        def run() -> None:
            features = dict(stored)
            for name, expert in ready.items():
                (features[name],) = expert.branch_features(backbones[name](clips[name])).values()
            head.encode(model.fuse(features))

        return _time(run, device)


def _time(run: Callable[[], object], device: torch.device) -> Latency:
    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def once() -> float:
        begun = time.perf_counter()
        run()
        finish()
        return time.perf_counter() - begun

    with torch.inference_mode():
        finish()
        taken = [once() for _ in range(WARM_UP + PASSES)]
        energy = energy_of(once, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Latency(1000 * statistics.median(taken[WARM_UP:]), PASSES, name, torch.get_num_threads(), energy)


@contextmanager
def _ready(module: M, device: torch.device) -> Iterator[M]:
    """The module in eval mode on the device: itself if it lives there, else a copy. Its modes are put back."""
    if all(_same(x.device, device) for x in _tensors(module)):
        modes = {part: part.training for part in module.modules()}
        try:
            yield module.eval()
        finally:
            for part, training in modes.items():
                part.training = training
    else:
        yield copy.deepcopy(module).to(device).eval()


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _same(one: torch.device, other: torch.device) -> bool:
    """Whether two names mean one device; `cuda` without a number means any."""
    return one.type == other.type and (one.index == other.index or None in (one.index, other.index))


def _noise(student: Student, episode: EpisodeSize, device: torch.device) -> Tensor:
    """Frames of one video, (1, T, 3, H, W), or its arrays, the same ones always."""
    generator = torch.Generator().manual_seed(0)
    shape = _clip(student.backbone, episode.frames, episode.size)
    return torch.rand(shape, generator=generator).to(device)


def _millions(module: nn.Module) -> float:
    """Parameters, in millions; those of backbones as they are deployed."""
    number = _numbers(module)
    for part in module.modules():
        if isinstance(part, Backbone):
            number += _numbers(deployed(without_data(part.features).eval())) - _numbers(part.features)
    return number / 1e6


def _numbers(module: nn.Module) -> int:
    return sum(x.numel() for x in module.parameters())
