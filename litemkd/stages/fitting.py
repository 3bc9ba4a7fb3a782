"""Training of one model on the clips of a modality: a student, or an expert, which is a student of its own."""

from __future__ import annotations

import torch

from litemkd.config import Config, TrainConfig
from litemkd.losses import D2M
from litemkd.models.passes import Passes
from litemkd.models.student import Student
from litemkd.objectives import Advisor, StudentObjective
from litemkd.stages.build import build_augmentation
from litemkd.stages.common import Recorder, clip_source, taken_over
from litemkd.stages.prepare import Prepared
from litemkd.states import CheckpointFolder
from litemkd.tracking import Run
from litemkd.training import Progress, Watch, fit


def fit_on_clips(
    model: Student,
    train: TrainConfig,
    config: Config,
    data: Prepared,
    modality: str,
    device: torch.device,
    *,
    loss: D2M,
    run: Run,
    checkpoints: CheckpointFolder,
    resume: bool,
    label: str,
    title: str | None,
    advisor: Advisor | None = None,
    watch: Watch | None = None,
) -> Progress:
    """Train `model`, choose its weights on val, and log how that went.

    Args:
        model: left in eval mode with the weights that were best on val.
        train: its training.
        config: episodes, augmentation, seed, and how val chooses.
        data: the data set.
        modality: whose clips.
        device: where the model is.
        loss: of a step.
        run: takes metrics and pictures.
        checkpoints: where the state goes.
        resume: go on from there.
        label: of the progress bar.
        title: of the learning curves; None draws none.
        advisor: the teacher, for the terms that need it.
        watch: see `fit`.
    """
    e = config.evaluation
    objective = StudentObjective(
        model,
        clips=clip_source(config, data, modality, "train", device),
        sampler=data.sampler(config, "train", config.episode.shot, config.episode.queries, config.seed),
        loss=loss,
        augmentation=build_augmentation(config),
        seed=config.seed,
        val_clips=clip_source(config, data, modality, "val", device),
        val_sampler=data.sampler(config, "val", e.shots[0], e.queries, e.seed),
        val_episodes=e.val_episodes,
        advisor=advisor,
        passes=Passes(
            model.backbone,
            at_once=train.clips_at_once,
            recompute=train.checkpoint_activations,
            backend="inductor" if train.compile else None,
        ),
    )
    recorder = Recorder(run)
    progress = fit(
        objective,
        train,
        seed=config.seed,
        device=device,
        tracker=recorder,
        checkpoints=taken_over(run, checkpoints),
        resume=resume,
        label=label,
        watch=watch,
    )
    recorder.finish(progress, title)
    return progress
