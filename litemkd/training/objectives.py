"""What a training step computes: for a student (and for an expert, which is a student of one modality and one
branch), and for the teacher. Each satisfies `litemkd.training.loop.TrainingObjective`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from litemkd.data.episodes import Episodes, EpisodeSampler
from litemkd.data.packs.arrays import Source
from litemkd.data.packs.clips import Ahead, Augmentation, Cut
from litemkd.evaluation.accuracy import Evaluation, ValEpisodes
from litemkd.evaluation.embedding import (
    CLIPS_AT_ONCE,
    fuse_all,
    match_rows,
    student_classifier,
    teacher_classifier,
)
from litemkd.losses import D2M, LABELS
from litemkd.losses.lesson import Lesson
from litemkd.losses.measures import support_distances
from litemkd.models.heads.known import on_device
from litemkd.models.names import NAMES
from litemkd.models.passes import Passes
from litemkd.models.student import LABEL, Student
from litemkd.models.teacher import Teacher
from litemkd.runtime.seeding import numpy_generator
from litemkd.training.loop import Step


@dataclass(frozen=True)
class EpisodeTensors:
    """A batch of episodes as tensors, videos compacted to the V in use."""

    videos: np.ndarray  # (V,) rows of the split
    support: Tensor  # (B, S) places in videos
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor

    @classmethod
    def of(cls, episodes: Episodes, device: torch.device) -> EpisodeTensors:
        """Tensors of `episodes` on `device`."""
        videos, support, query = episodes.compact()
        arrays = (support, episodes.support_labels, query, episodes.query_labels)
        return cls(videos, *(on_device(array, device) for array in arrays))


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return 100.0 * (logits.argmax(-1) == labels).float().mean().double()


class Advisor:
    """The frozen teacher during distillation: from fused features of the train videos to what terms need.

    Args:
        teacher: set to eval mode here, its weights take no gradient.
        fused: (V, T, D) features of all train videos, in the split's order.
        needs: which answers are wanted, see `litemkd.losses.term.NEEDS`.
        text: (V, D) for each video the feature of its class's name, for a teacher that hears names.
    """

    def __init__(
        self, teacher: Teacher, fused: Tensor, needs: Collection[str], text: Tensor | None = None
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.fused, self.needs = fused, needs
        with torch.no_grad():
            self.code = self.teacher.encode(fused, text)
        if "teacher_standardised" in needs:
            spread, middle = torch.std_mean(fused, dim=(0, 1), correction=0)
            self.standardised = (fused - middle) / (spread + 1e-6)

    @torch.no_grad()
    def __call__(self, episodes: Episodes, videos: np.ndarray) -> dict[str, Tensor]:
        """What the teacher says of these episodes, which use `videos` (V,): answers by need."""
        teacher, device, needs = self.teacher, self.fused.device, self.needs
        answers: dict[str, Tensor] = {}
        if "teacher_logits" in needs:
            answers["teacher_logits"] = match_rows(teacher.match, self.code, episodes, device)
        if "teacher_relation" in needs:
            answers["teacher_relation"] = match_rows(teacher.relate, self.code, episodes, device)
        if "teacher_support" in needs:
            labels, rows = (on_device(x, device) for x in (episodes.support_labels, episodes.support))
            answers["teacher_support"] = support_distances(self.fused[rows], labels, episodes.way)
        if "teacher_features" in needs:
            answers["teacher_features"] = self.fused[on_device(videos, device)]
        if "teacher_standardised" in needs:
            answers["teacher_standardised"] = self.standardised[on_device(videos, device)]
        return answers


class StudentObjective:
    """Training of a student: on labels alone, or with the teacher's advice.

    Args:
        model: the student.
        clips: train clips.
        sampler: train episodes; its seed is that of augmentation too.
        augmentation: of the train clips.
        loss: of a step.
        val: the episodes that choose checkpoints, and their clips.
        advisor: the teacher; without it the terms that need it are left out.
        passes: how clips go through the backbone; at once when not given.
    """

    def __init__(
        self,
        model: Student,
        *,
        clips: Source,
        sampler: EpisodeSampler,
        augmentation: Augmentation,
        loss: D2M,
        val: ValEpisodes[Source],
        advisor: Advisor | None = None,
        passes: Passes | None = None,
    ) -> None:
        self.model = model
        self.passes = passes or Passes(model.backbone)
        self.ahead = Ahead(self._draw)
        self.clips, self.sampler, self.augmentation = clips, sampler, augmentation
        self.loss, self.val, self.advisor = loss, val, advisor

    def expect(self, numbers: Sequence[int]) -> None:
        """Read and crop the clips of these episodes while the device works on others."""
        self.ahead.expect(numbers)

    def _draw(self, numbers: Sequence[int]) -> tuple[Episodes, Cut]:
        episodes = self.sampler[numbers]
        videos = episodes.compact()[0]
        return episodes, self.clips.cut(videos, self.augmentation, self.sampler.seed, int(episodes.number[0]))

    def step(self, numbers: Sequence[int]) -> Step:
        """Loss of these episodes; support and query go through the backbone together."""
        episodes, cut = self.ahead.take(numbers)
        at = EpisodeTensors.of(episodes, self.clips.device)
        frames = self.clips.finish(cut)
        with self.passes.rounding(int(episodes.number[0])):
            seen = self.passes(frames)
        features = self.model.branch_features(seen)
        features = {name: x.float() for name, x in features.items()}
        episode = at.support, at.support_labels, at.query, episodes.way
        logits = self.model(features, *episode)
        lesson = Lesson(logits, at.query_labels, self.model.head.loss_parts)
        if self.advisor is not None:
            answers = self.advisor(episodes, at.videos) | self._answers(features, episode, lesson.taught)
            lesson = replace(lesson, answers=answers)
        terms = self.loss(lesson)
        accuracy = _accuracy(self.model.predict(logits), at.query_labels)
        return Step(terms.loss, {**terms.told, "train/accuracy": accuracy}, self.ahead.waited)

    def _answers(
        self, features: Mapping[str, Tensor], episode: tuple[Tensor, Tensor, Tensor, int], taught: str
    ) -> dict[str, Any]:
        """What the student says of these episodes beside its logits: answers by need."""
        model, needs = self.model, self.loss.needs
        support, labels, _, way = episode
        frames = {name: model.per_frame(x) for name, x in features.items()}
        answers: dict[str, Any] = {}
        if "student_support" in needs:
            answers["student_support"] = {
                name: support_distances(x[support], labels, way) for name, x in frames.items()
            }
        if "student_relation" in needs:
            answers["student_relation"] = model.relate(features[taught], *episode)
        if "student_frames" in needs:
            answers["student_frames"] = frames
        if "student_guess" in needs and model.guess is not None:
            answers["student_guess"] = model.guess(frames[taught])
        return answers

    def recalibrate(self, model: nn.Module, clips: int) -> None:
        """Re-estimate batch norm on centre crops of `clips` train videos, the same at every call."""
        student = cast(Student, model)
        count = min(clips, len(self.clips.split.videos))
        rows = numpy_generator(self.sampler.seed, "recalibrate").permutation(len(self.clips.split.videos))[
            :count
        ]
        loader: Iterable[Tensor] = (
            self.clips.centred(rows[start : start + CLIPS_AT_ONCE]) for start in range(0, count, CLIPS_AT_ONCE)
        )
        with self.passes.rounding():
            update_bn(loader, student.backbone)

    def validate(self, model: nn.Module) -> Evaluation:
        """The model on the val episodes."""
        with self.passes.rounding():  # clips go through the backbone here
            classifier = student_classifier(cast(Student, model), self.val.inputs)
        return self.val.evaluate(classifier)


class TeacherObjective:
    """Training of fusion and head on per-modality features.

    Args:
        model: the teacher.
        features: modality -> (V, T, D) of all train videos; for one that hears names also (V, D), those of the
            names of their classes, under `NAMES`.
        sampler: train episodes.
        val: the episodes that choose checkpoints, and features of the val videos.
    """

    def __init__(
        self,
        model: Teacher,
        *,
        features: Mapping[str, Tensor],
        sampler: EpisodeSampler,
        val: ValEpisodes[Mapping[str, Tensor]],
    ) -> None:
        self.model, self.features, self.sampler, self.val = model, features, sampler, val

    def expect(self, numbers: Sequence[int]) -> None:
        """Nothing: features are where the model is."""

    def step(self, numbers: Sequence[int]) -> Step:
        """Loss of these episodes."""
        episodes = self.sampler[numbers]
        device = next(iter(self.features.values())).device
        at = EpisodeTensors.of(episodes, device)
        rows = on_device(at.videos, device)
        fused = self.model.fuse({name: x[rows] for name, x in self.features.items()}).float()
        text = self.features[NAMES][rows] if NAMES in self.features else None
        logits = self.model(fused, at.support, at.support_labels, at.query, episodes.way, text)
        terms = LABELS(Lesson({LABEL: logits}, at.query_labels, self.model.loss_parts))
        accuracy = _accuracy(self.model.predict(logits), at.query_labels)
        return Step(terms.loss, {**terms.told, "train/accuracy": accuracy})

    def recalibrate(self, model: nn.Module, clips: int) -> None:
        """Nothing: the teacher has no batch norm."""

    def validate(self, model: nn.Module) -> Evaluation:
        """The model on the val episodes."""
        teacher = cast(Teacher, model)
        with torch.inference_mode():
            fused = fuse_all(teacher, self.val.inputs)
        return self.val.evaluate(teacher_classifier(teacher, fused, self.val.inputs.get(NAMES)))
