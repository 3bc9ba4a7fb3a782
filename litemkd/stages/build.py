"""Objects from the configuration; nothing else makes them."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from litemkd.config import Config, ExpertConfig, HeadConfig, OwnExpert, StudentConfig, TeacherConfig
from litemkd.data.packs.clips import Augmentation
from litemkd.data.preparing.modality import Place
from litemkd.errors import BackboneError, CheckpointError, ConfigError
from litemkd.extending.outside import named_by_others
from litemkd.models.backbones import PLACES, Backbone
from litemkd.models.catalogue import HEAD_SETTINGS
from litemkd.models.experts import ArrayExpert, Expert, WholeClips
from litemkd.models.heads import Head, find_head
from litemkd.models.image_towers import OpenClipTower
from litemkd.models.named_experts import find_expert
from litemkd.models.names import Names
from litemkd.models.student import DISTILL, LABEL, Student
from litemkd.models.teacher import Fusion, NoFusion, Teacher
from litemkd.models.tuned import tune
from litemkd.models.video_encoders import NONE, VideoEncoder
from litemkd.runtime.distributed import group
from litemkd.runtime.memory import keep_freed_memory
from litemkd.runtime.seeding import seed_torch
from litemkd.storage.checkpoints import check_weights, load_weights, read_description, read_weights

FORMAT = 1  # of model descriptions
# What a description may ask for at most, before it is known whether the weights are of that model.
MOST_FRAMES, MOST_LAYERS, MOST_TUPLES = 1024, 256, 1_000_000


def build_device(config: Config) -> torch.device:
    """The device to compute on; also sets up the CPU's threads and memory, and deterministic kernels of a GPU.

    Raises:
        ConfigError: no CUDA device.
    """
    keep_freed_memory()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    found, place = torch.cuda.is_available(), group().local
    if config.device == "cuda" and not found:
        raise ConfigError(["device: 'cuda' given; this machine shows no CUDA device, `auto` or `cpu` would do"])
    if not found or config.device == "cpu":
        return torch.device("cpu")
    if config.deterministic:
        use_deterministic_kernels()
    if place >= torch.cuda.device_count():
        raise ConfigError(
            [
                f"processes: {place + 1} or more on a host with {torch.cuda.device_count()} CUDA devices; "
                "one a device, or device=cpu, would do"
            ]
        )
    return torch.device("cuda", place) if group().size > 1 else torch.device("cuda")


def use_deterministic_kernels() -> None:
    """Let this process use kernels on a GPU that give the same bits each time; before the GPU is first used.

    An operation that has no such kernel is named in a warning.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS shares out work by chance
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def build_workers(config: Config) -> int:
    """Processes for preparing data."""
    return config.data.workers or len(os.sched_getaffinity(0))


def build_place(config: Config) -> Place:
    """Where clips come from and go to."""
    return Place(config.dataset_dir, config.source_dir, config.data.frames, config.data.short_side)


def build_backbone(
    config: StudentConfig | ExpertConfig,
    head: Head,
    frames: int,
    key_of: Callable[[str], str],
    *,
    pretrained: bool = True,
    side: int | None = None,
) -> Backbone:
    """The backbone of a student or expert.

    Args:
        config: its section.
        head: behind it.
        frames: T.
        key_of: where a key of the section stands, for messages.
        pretrained: with the weights that are configured; else random ones, for a checkpoint to overwrite.
        side: of its frames in pixels; whether it takes them is tried when it is given.

    Raises:
        ConfigError: a network that is no backbone, or not for such frames.
        CheckpointError: a weights file that is missing or of another architecture, or cannot be downloaded.
    """
    backbone = config.backbone
    try:
        return Backbone(
            backbone.name,
            weights=backbone.weights if pretrained else "none",
            normalise=backbone.normalise,
            pooling="places" if head.places > 1 else backbone.pooling,
            side=side,
            settings=backbone.settings,
            temporal=config.temporal,
            frames=frames,
        )
    except BackboneError as error:
        others = {"crop": "data.crop", "temporal": key_of("temporal")}
        where = others.get(error.setting) or f"{key_of('backbone')}.{error.setting}"
        raise ConfigError([f"{where}: {error.given} given; {error.would}"]) from error


def build_head(config: HeadConfig, dim: int, frames: int, *, places: int = PLACES) -> Head:
    """A head for features of width `dim`; `places` of a frame's map are there for those that look at them."""
    settings = {key: getattr(config, key) for key in HEAD_SETTINGS.get(config.name, ())} | config.settings
    return _made(find_head(config.name), dim, frames=frames, places=places, settings=settings)


M = TypeVar("M", bound=nn.Module)


def _made(found: type[M], *given: Any, settings: Mapping[str, Any], **offered: Any) -> M:
    """What a class makes of its settings, and of what is offered to all and it has arguments for.

    Raises:
        ConfigError: what it says against them.
    """
    taken = inspect.signature(found).parameters
    try:
        return found(*given, **{key: one for key, one in offered.items() if key in taken}, **settings)
    except Exception as error:
        if found.__module__.startswith("litemkd."):
            raise
        name = f"{found.__module__}:{found.__qualname__}"
        raise ConfigError([f"{name} cannot be made: {type(error).__name__}: {error}"]) from error


def build_student(
    config: StudentConfig,
    frames: int,
    seed: int,
    *,
    pretrained: bool = True,
    guess: int | None = None,
    side: int | None = None,
) -> Student:
    """A student; random weights depend on `seed` alone, so both students of a run start alike.

    `guess` is the width of a teacher's features that the distill branch learns to guess; None for none.
    `pretrained`, `side` and errors are those of `build_backbone`.
    """
    seed_torch(seed, "student")
    head = build_head(config.head, config.width, frames)
    return Student(
        build_backbone(config, head, frames, "student.{}".format, pretrained=pretrained, side=side),
        head,
        width=config.width,
        branches=(DISTILL, LABEL) if config.branches == 2 else (LABEL,),
        dropout=config.dropout,
        guess=guess,
    )


def build_expert(
    config: TeacherConfig,
    modality: str,
    frames: int,
    seed: int,
    *,
    pretrained: bool = True,
    side: int | None = None,
) -> Student:
    """The model of one modality: a student with the label branch only. Arguments as in `build_student`."""
    seed_torch(seed, "expert", modality)
    expert, own = config.expert_for(modality), config.own_expert(modality)
    if own is not None:
        settings = own.model_dump(exclude=set(OwnExpert.model_fields))
        try:
            model: Expert = _made(find_expert(own.use), frames=frames, settings=settings)
            if pretrained:
                model.load()
        except BackboneError as error:
            key = f"teacher.streams.{modality}.{error.setting}"
            raise ConfigError([f"{key}: {error.given!r} given; {error.would}"]) from error
        except ValueError as error:  # of those of arrays
            raise ConfigError([f"teacher.streams.{modality}.{error}"]) from error
        # Features that nothing of the network learns have a projection behind them that does.
        width = expert.width if expert.frozen else None
        head = build_head(expert.head, width or int(model.width), frames, places=1)
        return Student(WholeClips(model, frames), head, width=width, branches=(LABEL,), dropout=expert.dropout)
    head = build_head(expert.head, expert.width, frames)
    return Student(
        build_backbone(
            expert, head, frames, partial(config.key_of, modality), pretrained=pretrained, side=side
        ),
        head,
        width=expert.width,
        branches=(LABEL,),
        dropout=expert.dropout,
    )


def tune_expert(expert: Student, config: TeacherConfig, modality: str, seed: int) -> None:
    """Say which weights of an expert are trained, as its section does; see `litemkd.models.tuned`.

    Raises:
        ConfigError: more blocks than the backbone has, or adapters for one without attention.
    """
    seed_torch(seed, "adapters", modality)
    try:
        tune(expert, config.expert_for(modality).tuning)
    except BackboneError as error:
        key = config.key_of(modality, "tune")
        raise ConfigError([f"{key}: {error.given!r} given; {error.would}"]) from error


def refuse_other_arrays(config: TeacherConfig, modality: str, frames: int, shape: tuple[int, ...]) -> None:
    """Check that the expert of a modality of arrays looks at such as the data has.

    Args:
        config: of the teacher.
        modality: of arrays.
        frames: T.
        shape: of one frame of the data.

    Raises:
        ConfigError: it looks at others.
    """
    own = config.own_expert(modality)
    if own is None:  # features are read from disk
        return
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = build_expert(config, modality, frames, 0, pretrained=False).backbone
    assert isinstance(model, WholeClips)
    if model.takes[1:] != shape:
        expert = cast(ArrayExpert, model.model)
        takes, given = (" x ".join(map(str, one)) for one in (model.takes[1:], shape))
        raise ConfigError(
            [
                f"teacher.streams.{modality}: {own.use} looks at frames of {takes}, and the data has {given}; "
                f"{expert.would(shape)} would do"
            ]
        )


def refuse_untrainable(config: TeacherConfig, frames: int) -> None:
    """Check that a teacher has weights: of a fusion, or of its head.

    Raises:
        ConfigError: it has none.
    """
    if config.fusion.layers:
        return
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        head = build_head(config.head, config.expert.width, frames, places=1)
    if not any(one.numel() for one in head.parameters()):
        raise ConfigError(
            [
                f"teacher.fusion.layers: 0 given, and the head {config.head.name} has no weights: nothing of "
                "the teacher is left to train; 1, or teacher.head.name=trx, would do"
            ]
        )


def refuse_other_width(config: TeacherConfig, frames: int, text: int, width: int | None = None) -> None:
    """Check that the features of names are as wide as the teacher's, which are those of its first modality.

    Args:
        config: of the teacher.
        frames: T.
        text: width of the features of names.
        width: of the first modality's features, where they lie on disk.

    Raises:
        ConfigError: they are of other widths.
    """
    first = config.modalities[0]
    if width is None:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            width = build_expert(config, first, frames, 0, pretrained=False).width
        whole = config.own_expert(first) is not None and not config.expert_for(first).frozen
        would = "the image tower beside it" if whole else f"{config.key_of(first, 'width')}={text}"
    else:
        would = f"features of {text}"
    if width != text:
        raise ConfigError(
            [
                f"teacher.words.weights: features of names have {text} numbers, and those of frames ({first}, "
                f"the first modality) have {width}; {would}, or a text tower of {width}, would do"
            ]
        )


def build_teacher(config: TeacherConfig, width: int | Mapping[str, int], frames: int, seed: int) -> Teacher:
    """Fusion and head for features of a width, or of one for each modality; random weights by `seed` alone."""
    seed_torch(seed, "teacher")
    fusion = _build_fusion(config, width, frames)  # before the head: each takes its part of the random numbers
    names = None if config.words is None else Names(config.words.scale, config.words.weight)
    return Teacher(fusion, build_head(config.head, fusion.width, frames, places=1), names)


def _build_fusion(config: TeacherConfig, width: int | Mapping[str, int], frames: int) -> Fusion | NoFusion:
    if not config.fusion.layers:
        (modality,) = config.modalities
        return NoFusion(modality, width if isinstance(width, int) else width[modality])
    return Fusion(
        config.modalities,
        width,
        frames=frames,
        shift=config.fusion.shift,
        layers=config.fusion.layers,
        feed_forward=config.fusion.feed_forward,
        dropout=config.fusion.dropout,
    )


def build_augmentation(config: Config) -> Augmentation:
    """Augmentation of training clips."""
    return Augmentation(config.data.flip, config.data.crop_scale, config.data.jitter)


def describe_student(config: Config) -> dict[str, Any]:
    """What `load_model` needs to know of a student."""
    return {
        "format": FORMAT,
        "kind": "student",
        "frames": config.data.frames,
        "crop": config.data.crop,
        "short_side": config.data.short_side,
        "student": config.student.model_dump(mode="json"),
    }


def describe_teacher(
    config: Config, fusion: Fusion | NoFusion, experts: nn.ModuleDict | None = None
) -> dict[str, Any]:
    """What `load_model` needs to know of a teacher and its experts, without files that these were read from."""
    told = _told_of_experts(config, cast(Mapping[str, Student], experts or {}))
    several = len(set(fusion.widths.values())) > 1
    return {
        "format": FORMAT,
        "kind": "teacher",
        "frames": config.data.frames,
        "width": fusion.widths if several else fusion.width,
        "teacher": told,
    }


def describe_expert(config: Config, modality: str, expert: Student) -> dict[str, Any]:
    """What `load_expert` needs to know of the expert of a modality."""
    return {
        "format": FORMAT,
        "kind": "expert",
        "frames": config.data.frames,
        "modality": modality,
        "teacher": _told_of_experts(config, {modality: expert}),
    }


def _told_of_experts(config: Config, experts: Mapping[str, Student]) -> dict[str, Any]:
    told: dict[str, Any] = config.teacher.model_dump(mode="json")
    for name, expert in experts.items():
        if isinstance(expert.backbone, WholeClips) and name in told.get("streams", {}):
            told["streams"][name] |= expert.backbone.model.described()
    return told


class TeacherBundle(nn.Module):
    """A teacher and the experts that make its features, saved as one; no experts if features lie on disk."""

    def __init__(self, teacher: Teacher, experts: dict[str, Student]) -> None:
        super().__init__()
        self.teacher = teacher
        self.experts = nn.ModuleDict(experts)

    def features(self, clips: Mapping[str, Tensor]) -> Tensor:
        """Clips (V, T, 3, H, W) of each modality, by name -> (V, T, D), the fused features of them."""
        experts = cast(Mapping[str, Student], self.experts)
        return self.teacher.fuse({name: experts[name].features(x) for name, x in clips.items()})


def load_model(directory: Path | str) -> Student | TeacherBundle:
    """A saved student or teacher, in eval mode; of a student's training, the weights that are best so far.

    A description is held against the weights before memory is taken for the model that it claims.

    Raises:
        CheckpointError: missing, damaged, of another format, or weights that do not fit the description.
    """
    return _loaded(Path(directory), ("student", "teacher"))


def load_expert(directory: Path | str) -> Student:
    """A saved expert of a modality, in eval mode; its `features` are what the teacher sees. As `load_model`."""
    return cast(Student, _loaded(Path(directory), ("expert",)))


def _loaded(directory: Path, kinds: Sequence[str]) -> Student | TeacherBundle:
    described = read_description(directory)
    if described.get("format") != FORMAT or described.get("kind") not in kinds:
        raise CheckpointError(
            f"{directory}: a {described.get('kind')!r} model of format {described.get('format')!r}; "
            f"{' and '.join(f'{kind}s' for kind in kinds)} of format {FORMAT} are read here"
        )
    try:
        with torch.device("meta"):
            empty = _model_of(described)
    except (ConfigError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        told = _told(error)
        raise CheckpointError(f"{directory}: its description does not make a model: {told}") from error
    weights = read_weights(directory)
    if isinstance(empty, Student):
        weights = Student.without_training_parts(weights)
    check_weights(empty, weights, directory)
    model = _model_of(described)
    load_weights(model, weights, directory)
    return model.eval()


def _told(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return "; ".join(error.problems)
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return " ".join(str(error).split())


@named_by_others()
def _model_of(described: dict[str, Any]) -> Student | TeacherBundle:
    frames = described["frames"]
    if described["kind"] == "student":
        student = StudentConfig.model_validate(described["student"])
        _check_bounds(frames, [student.head])
        return build_student(student, frames, 0, pretrained=False)
    teacher = TeacherConfig.model_validate(described["teacher"])
    for name in teacher.streams:
        own = teacher.own_expert(name)
        folder = getattr(own, "weights", NONE)
        if (
            own is not None
            and issubclass(find_expert(own.use), VideoEncoder | OpenClipTower)
            and folder != NONE
        ):
            raise ValueError(
                f"streams.{name}.weights: {folder!r} given; `none` would do, since a model brings its own"
            )
    heads = [teacher.head, *(teacher.expert_for(name).head for name in teacher.modalities)]
    _check_bounds(frames, heads, teacher.fusion.layers, len(teacher.modalities))
    if described["kind"] == "expert":
        return build_expert(teacher, described["modality"], frames, 0, pretrained=False)
    experts: dict[str, Student] = {}
    if teacher.experts == "train":
        experts = {
            name: build_expert(teacher, name, frames, 0, pretrained=False) for name in teacher.modalities
        }
    return TeacherBundle(build_teacher(teacher, described["width"], frames, 0), experts)


def _check_bounds(frames: object, heads: Sequence[HeadConfig], layers: int = 1, modalities: int = 1) -> None:
    """Refuse, with a ValueError, what would take for ever to build even without memory."""
    if not isinstance(frames, int) or not 1 <= frames <= MOST_FRAMES:
        raise ValueError(f"frames: {frames!r} given; 1 to {MOST_FRAMES} would do")
    if layers > MOST_LAYERS or modalities > MOST_LAYERS:
        raise ValueError(f"{layers} layers, {modalities} modalities given; at most {MOST_LAYERS} would do")
    for size in (size for head in heads for size in head.tuples):
        if math.comb(frames, size) > MOST_TUPLES:
            raise ValueError(f"tuples of {size} of {frames} frames are more than {MOST_TUPLES}")
