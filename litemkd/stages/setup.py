"""The setup of an experiment, made once a command and passed to every stage: configuration, data and device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from litemkd.config import Config, TrainConfig, digest_of, flatten
from litemkd.data.episodes import EpisodeSampler, fixed_episodes
from litemkd.data.packs.arrays import ArraySource, Source
from litemkd.data.packs.clips import ClipSource
from litemkd.data.packs.pack import FramePack
from litemkd.evaluation.accuracy import Classifier, Evaluation, ValEpisodes, evaluate
from litemkd.evaluation.embedding import student_classifier
from litemkd.losses import D2M, LABELS
from litemkd.models.experts import ArrayExpert, WholeClips
from litemkd.models.passes import Passes
from litemkd.models.student import Student
from litemkd.stages.build import build_augmentation, build_device
from litemkd.stages.prepare import Prepared, prepare
from litemkd.storage.array_cache import ArrayCache
from litemkd.storage.states import CheckpointFolder
from litemkd.tracking import FOLD, Resume, Run, RunOptions, former_run, model_name, stage_run
from litemkd.training.objectives import Advisor, StudentObjective

# Settings that say where and how often, not what; and the seed, since runs of other seeds are other runs.
INCIDENTAL = frozenset({"output", "save_minutes", "keep_states", "device", "threads", "seed"})
INCIDENTAL |= {"deterministic", "data.root", "data.workers", "data.pack"}
INCIDENTAL |= {"evaluation.report", "evaluation.pictures"}

CHECKPOINTS = "litemkd.checkpoints"  # tag of a run: the folder of its training's checkpoints

InputsT = TypeVar("InputsT")
Kind = Literal["teacher", "student"]


@dataclass(frozen=True)
class Setup:
    """What the stages of one command share.

    Attributes:
        config: every setting.
        device: where to compute.
        prepared: the data set, None where a command does without.
        resume: go on with the run of the same command that was interrupted, if there is one.
        allow_changes: with `resume`, also where its settings were others.
        options: what was asked for beside settings, by option; it is a part of what the command is.
    """

    config: Config
    device: torch.device
    prepared: Prepared | None = None
    resume: bool = False
    allow_changes: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, *, resume: bool = False, allow_changes: bool = False) -> Setup:
        """A setup with its data set prepared. Errors are those of `build_device` and `prepare`."""
        return cls(config, build_device(config), prepare(config), resume, allow_changes)

    @property
    def data(self) -> Prepared:
        """The data set, of a setup that has one."""
        assert self.prepared is not None
        return self.prepared

    @property
    def fold_tags(self) -> dict[str, str]:
        """Tags of what is of one fold: which, and what all folds share."""
        if self.config.data.fold is None:
            return {}
        return {FOLD: str(self.config.data.fold), "litemkd.folds_digest": self.data.folds_digest}

    def registered_name(self, kind: Kind) -> str:
        """What models of a kind are called in the registry."""
        return model_name(self.config.data.dataset, kind)

    # Clips and episodes

    def clips(self, modality: str, split: str, model: Student | None = None) -> Source:
        """Clips of a modality and split; of one of arrays, as `model` looks at them."""
        data, config, device = self.data, self.config.data, self.device
        pack = data.packs[modality]
        if isinstance(pack, FramePack):
            return ClipSource(pack, data.splits[split], crop=config.crop, device=device)
        expert = model.backbone.model if model and isinstance(model.backbone, WholeClips) else None
        assert isinstance(expert, ArrayExpert)  # which the configuration is checked for
        return ArraySource(pack, data.splits[split], taker=expert, T=config.frames, device=device)

    def pictures(self, modality: str, split: str) -> ClipSource:
        """Clips of a modality of pictures, as RGB is."""
        clips = self.clips(modality, split)
        assert isinstance(clips, ClipSource)  # the configuration refuses experts of pictures on arrays
        return clips

    def train_episodes(self) -> EpisodeSampler:
        """The episodes to train on."""
        e, seed = self.config.episode, self.config.seed
        return EpisodeSampler(self.data.splits["train"], way=e.way, shot=e.shot, queries=e.queries, seed=seed)

    def fixed_episodes(self, split: str, shot: int) -> EpisodeSampler:
        """The episodes of val or test, the same for every model."""
        way, e = self.config.episode.way, self.config.evaluation
        return fixed_episodes(self.data.splits[split], way, shot, e.queries, e.seed)

    def val_episodes(self, inputs: InputsT) -> ValEpisodes[InputsT]:
        """The val episodes that choose checkpoints, for a model that reads `inputs`."""
        e = self.config.evaluation
        return ValEpisodes(inputs, self.fixed_episodes("val", e.shots[0]), e.val_episodes)

    def student_objective(
        self,
        model: Student,
        modality: str,
        train: TrainConfig,
        *,
        loss: D2M = LABELS,
        advisor: Advisor | None = None,
        sources: Mapping[str, ClipSource] | None = None,
    ) -> StudentObjective:
        """Training of a student or expert on the clips of a modality.

        Args:
            model: on the device.
            modality: whose clips.
            train: how clips go through the backbone.
            loss: of a step.
            advisor: the teacher, for the terms that need it.
            sources: by split, what takes the place of the clips, and goes past the backbone at once.
        """
        if sources is not None:
            train = train.model_copy(
                update={
                    "clips_at_once": None,
                    "checkpoint_activations": False,
                    "compile": False,
                    "eight_bits": 0.0,
                }
            )
        train_clips, val_clips = (
            self.clips(modality, split, model) if sources is None else sources[split]
            for split in ("train", "val")
        )
        return StudentObjective(
            model,
            clips=train_clips,
            sampler=self.train_episodes(),
            augmentation=build_augmentation(self.config),
            loss=loss,
            val=self.val_episodes(val_clips),
            advisor=advisor,
            passes=Passes(
                model.backbone,
                at_once=train.clips_at_once,
                recompute=train.checkpoint_activations,
                backend="inductor" if train.compile else None,
                exact=train.exact_episodes,
            ),
        )

    # Evaluation

    def evaluate(self, classify: Classifier, split: str, label: str) -> dict[int, Evaluation]:
        """What a classifier does on val (the first number of shots) or test (all): results by shots."""
        e, val = self.config.evaluation, split == "val"
        return {
            shot: evaluate(
                classify,
                self.fixed_episodes(split, shot),
                range(e.val_episodes if val else e.test_episodes),
                progress=f"{label}, {split}, {shot}-shot",
            )
            for shot in (e.shots[:1] if val else e.shots)
        }

    def test_student(self, student: Student, label: str) -> dict[int, Evaluation]:
        """Read the test classes: results by number of shots. Features of the backbone are kept on disk."""
        cache = ArrayCache(self.config.dataset_dir / "embeddings")
        classify = student_classifier(student.eval(), self.clips("rgb", "test"), cache=cache)
        return self.evaluate(classify, "test", label)

    def protocol(self, kind: Kind = "student") -> str:
        """What val accuracies must share to be compared. Students see RGB alone, whoever taught them."""
        e = self.config.evaluation
        queries = f"{e.queries} {'query' if e.queries == 1 else 'queries'}"
        return (
            f"{self.config.episode.way}-way {e.shots[0]}-shot, {self.config.data.frames} frames, "
            f"{e.val_episodes} val episodes of seed {e.seed}, {queries} a class, "
            f"data {self.data.digest_for(kind)}"
        )

    # Checkpoints and runs

    @property
    def training_settings(self) -> dict[str, object]:
        """What every training depends on beside its own section: data, episodes, and how val chooses."""
        clips = ("dataset", "frames", "short_side", "crop", "flip", "crop_scale", "jitter")
        e = self.config.evaluation
        return {
            **{key: value for key, value in flatten(self.config.data).items() if key in clips},
            **flatten(self.config.episode),
            "selection": [e.shots[0], e.queries, e.val_episodes, e.seed],
        }

    def checkpoints(self, stage: str, *identity: object) -> CheckpointFolder:
        """Where a stage keeps its training state: one folder for each thing it could be training."""
        digest, config = digest_of(stage, *[str(part) for part in identity]), self.config
        return CheckpointFolder(
            config.output / f"{config.data.dataset}-{stage}-{digest}",
            {"stage": stage, "digest": digest},
            keep=config.keep_states,
            seconds=60 * config.save_minutes,
        )

    def interrupted_run(self, stage: str, title: str) -> tuple[str, str] | None:
        """Id and status of the run that `run` would go on with, None where it would begin a new one."""
        return former_run(self.config.data.dataset, stage, self._run_name(title), self._resume(stage, title))

    @contextmanager
    def run(
        self,
        stage: str,
        title: str,
        tags: Mapping[str, str] | None = None,
        *,
        resumable: bool = False,
        **opening: Any,
    ) -> Iterator[Run]:
        """A run of a stage, with its data set (if it has one), configuration and environment logged.

        Args:
            stage: of the run.
            title: what it does, in words.
            tags: further ones.
            resumable: an interrupted one may be gone on with; for outermost runs, inner ones follow these.
            opening: further attributes of `litemkd.tracking.RunOptions`.
        """
        config, data = self.config, self.prepared
        about = f"{title} on {config.data.dataset}"
        kind: Kind = "student" if stage in ("student", "evaluate", "export") else "teacher"
        with stage_run(
            stage,
            dataset=config.data.dataset,
            name=self._run_name(title),
            description=f"{about}." if data is None else f"{about}, {self.protocol(kind)}.",
            tags={"device": _in_words(self.device), **self.fold_tags, **(tags or {})},
            params=flatten(config),
            options=RunOptions(resume=self._resume(stage, title) if resumable else None, **opening),
        ) as run:
            run.draws = config.evaluation.pictures
            if data is not None:
                profile: dict[str, Any] = {name: len(split.videos) for name, split in data.splits.items()}
                run.log_dataset(
                    config.data.dataset,
                    digest=data.digest,
                    source=str(config.source_dir),
                    context=stage,
                    profile=profile | {"student_digest": data.student_digest},
                )
                if data.skipped:
                    run.log_dict(data.card(), "data_card.json")
            run.log_dict(config.model_dump(mode="json"), "config.yaml")
            run.log_environment()
            yield run

    def _run_name(self, title: str) -> str:
        fold = self.config.data.fold
        return f"{title}, {'' if fold is None else f'fold {fold}, '}seed {self.config.seed}"

    def _resume(self, stage: str, title: str) -> Resume:
        """What a stage says of itself, so that it can be gone on with."""
        settings = {key: value for key, value in flatten(self.config).items() if key not in INCIDENTAL}
        command = {**self.options, "seed": str(self.config.seed)}
        if self.config.data.fold is not None:
            command["fold"] = str(self.config.data.fold)
        if self.prepared is not None:
            command["the data"] = self.prepared.digest
        identity = digest_of(stage, title, settings, command)
        return Resume(identity, command, self.resume, self.allow_changes, ignored=INCIDENTAL)


def resumed_checkpoints(run: Run, checkpoints: CheckpointFolder) -> CheckpointFolder:
    """The checkpoints of a run, with the state that it had elsewhere: changed settings give another folder."""
    before = Path((run.former or {}).get(CHECKPOINTS, checkpoints.folder))
    if before != checkpoints.folder:
        checkpoints.adopt(CheckpointFolder(before, {}))
    run.set_tags({CHECKPOINTS: checkpoints.folder})
    return checkpoints


def _in_words(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' * (threads > 1)}"
