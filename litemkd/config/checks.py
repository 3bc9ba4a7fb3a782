"""Settings that are each possible but not together."""

from __future__ import annotations

from typing import Any

from litemkd.config.sections import Config, TeacherConfig, looks_at_arrays
from litemkd.losses import Around
from litemkd.losses.presets import preset
from litemkd.modalities.registry import ARRAYS, PACKAGE, networks_of
from litemkd.models.catalogue import lacking_weights
from litemkd.models.tuning import ALL


def impossible(config: Config) -> list[str]:
    """What is wrong, each with the key, what was given, and what would do."""
    problems = []
    data, teacher = config.data, config.teacher
    for name, method in data.derive.items():
        ways = [way.name for way in config.modality(name).ways]
        if method not in ways:
            would = ", ".join(ways) or f"nothing: {name} is the videos themselves"
            problems.append(f"data.derive.{name}: {method!r} given; {would} would do")
    if data.weights:
        networks = networks_of(data.own_modalities)
        problems += [
            f"data.weights.{name}: no network has this name; {', '.join(networks)} would do"
            for name in data.weights
            if name not in networks
        ]
    for name in teacher.modalities if teacher.experts == "train" else ():
        arrays = name in ARRAYS if name in PACKAGE else config.modality(name).kind == "arrays"
        own = teacher.own_expert(name)
        if own is None and arrays:
            usual = name if name == "joints" else "series"
            problems.append(
                f"teacher.modalities: {name!r} given, arrays by frame, and teacher.expert looks at pictures; "
                f"an expert of arrays, as teacher.streams.{name}={{use: {usual}}}, would do, or "
                "teacher.experts=features, which reads features from feature/"
            )
        elif own is not None and looks_at_arrays(own.use) != arrays:
            looks, is_of = ("pictures", "arrays") if arrays else ("arrays", "pictures")
            problems.append(
                f"teacher.streams.{name}.use: {own.use!r} given, which looks at {looks}, and {name} is of "
                f"{is_of}; an expert of {is_of} would do"
            )
    if data.fold is not None and data.fold >= data.fold_count:
        would = f"0 to {data.fold_count - 1}" if data.fold_count else "data.folds beside it, such as 4,"
        problems.append(f"data.fold: {data.fold} given; {would} would do")
    if data.crop > data.short_side:
        problems.append(f"data.crop: {data.crop} given; at most data.short_side = {data.short_side} would do")
    around = Around(config.episode.way, config.student.width, *_teacher_width(teacher))
    problems += config.loss.d2m.clashes(around)
    if config.loss.preset is not None:
        named, student = preset(config.loss.preset), config.student
        if named.branches not in (0, student.branches):
            problems.append(
                f"loss.preset: {config.loss.preset!r} given, made for {named.branches} "
                f"branch{'es' * (named.branches > 1)}; student.branches={named.branches} would do"
            )
        if named.head not in (None, student.head.name):
            problems.append(
                f"loss.preset: {config.loss.preset!r} given, made for the head {named.head}; "
                f"student.head.name={named.head} would do"
            )
    for key, backbone in (
        ("student.backbone", config.student.backbone),
        *_of_experts(teacher, "backbone"),
    ):
        if lacking := lacking_weights(backbone.name, backbone.weights):
            problems.append(f"{key}.weights: {backbone.weights!r} given; {lacking}")
    for key, train in (("student.train", config.student.train), *_of_experts(teacher, "train")):
        if train.compile and train.checkpoint_activations:
            problems.append(
                f"{key}.compile: true given beside checkpoint_activations; one of them would do: a compiled "
                "backbone chooses by itself what it keeps"
            )
        if train.eight_bits and (train.compile or train.checkpoint_activations):
            other = "compile" if train.compile else "checkpoint_activations"
            problems.append(f"{key}.eight_bits: {train.eight_bits} given beside {other}; one of them would do")
    problems += _tuned(teacher)
    low, high = data.crop_scale
    if low > high:
        problems.append(f"data.crop_scale: [{low}, {high}] given; the smaller number must come first")
    for modality in teacher.streams:
        if modality not in teacher.modalities:
            problems.append(
                f"teacher.streams.{modality}: given; {modality} among teacher.modalities, which are "
                f"{list(teacher.modalities)}, would do"
            )
        if teacher.experts != "train":
            problems.append(
                f"teacher.streams.{modality}: given beside teacher.experts = features; `train` would do"
            )
    if len(set(teacher.modalities)) != len(teacher.modalities):
        problems.append(f"teacher.modalities: {list(teacher.modalities)} given; each may stand once")
    if not teacher.fusion.layers and len(teacher.modalities) > 1:
        problems.append(
            f"teacher.fusion.layers: 0 given, which fuses nothing, and {len(teacher.modalities)} in "
            "teacher.modalities; 1 or more, or one modality, would do"
        )
    for key, head in (
        ("student.head", config.student.head),
        ("teacher.head", teacher.head),
        *_of_experts(teacher, "head"),
    ):
        if len(set(head.tuples)) != len(head.tuples) or max(head.tuples) > data.frames:
            problems.append(
                f"{key}.tuples: {list(head.tuples)} given; "
                f"distinct numbers from 1 to data.frames = {data.frames}"
            )
        if head.name == "molo" and data.frames < 2:
            problems.append(
                f"{key}.name: 'molo' given, which looks at what moves between frames, and data.frames = "
                f"{data.frames}; data.frames of 2 or more would do"
            )
    for key, train in (
        ("student.train", config.student.train),
        ("teacher.train", teacher.train),
        *_of_experts(teacher, "train"),
    ):
        if train.accumulate % train.batch:
            problems.append(
                f"{key}.batch: {train.batch} given; it must divide {key}.accumulate = {train.accumulate}"
            )
        usual = type(train).model_fields["milestones"].default
        if train.schedule != "milestones" and train.milestones not in ((), usual):
            problems.append(f"{key}.milestones: given, but {key}.schedule is {train.schedule}, not milestones")
        if train.episodes < train.accumulate:
            problems.append(
                f"{key}.episodes: {train.episodes} given; "
                f"at least one step of {key}.accumulate = {train.accumulate}"
            )
    return problems


def _teacher_width(teacher: TeacherConfig) -> tuple[int | None, str]:
    """The width of the teacher's features, that of its first modality, where it is known; and its key."""
    first = teacher.modalities[0]
    expert, own = teacher.expert_for(first), teacher.own_expert(first)
    known = teacher.experts == "train" and (own is None or expert.frozen)
    return (expert.width if known else None), teacher.key_of(first, "width")


def _of_experts(teacher: TeacherConfig, key: str) -> list[tuple[str, Any]]:
    """A section of all experts, and of each one that has another, with where it is set."""
    usual = getattr(teacher.expert, key)
    own = {name: getattr(teacher.expert_for(name), key) for name in teacher.streams}
    return [
        (f"teacher.expert.{key}", usual),
        *((f"teacher.streams.{name}.{key}", one) for name, one in own.items() if one != usual),
    ]


def _tuned(teacher: TeacherConfig) -> list[str]:
    """What does not go with the weights that are trained, of all experts or of one."""
    problems = []
    for name in (None, *teacher.streams):
        expert = teacher.expert if name is None else teacher.expert_for(name)
        keys = {
            key: f"teacher.expert.{key}" if name is None else teacher.key_of(name, key)
            for key in ("tune", "views", "train.recalibrate")
        }
        own = None if name is None else teacher.own_expert(name)
        if expert.tune != ALL and own is not None and looks_at_arrays(own.use):
            problems.append(
                f"{keys['tune']}: {expert.tune!r} given, and {own.use}, which looks at arrays, starts from "
                f"random weights; teacher.streams.{name}.tune={ALL} would do"
            )
        beside = f"given beside {keys['tune']} = {expert.tune}"
        if expert.tune != ALL and expert.train.recalibrate:
            problems.append(
                f"{keys['train.recalibrate']}: {expert.train.recalibrate} {beside}, which leaves the "
                "statistics of batch norm as they are; 0 would do"
            )
        if expert.views > 1 and not expert.frozen:
            problems.append(
                f"{keys['views']}: {expert.views} {beside}; 1 would do, since every reading of a clip is "
                "another view, or tune=frozen"
            )
    return list(dict.fromkeys(problems))
