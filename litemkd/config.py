"""The configuration: what can be set, its defaults (the published settings), and how mistakes are told.

An experiment is a short YAML file of overrides of these defaults; `--set key=value` overrides the file. All
mistakes are reported at once, each with the key, what was given, and what would do.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from litemkd.errors import ConfigError
from litemkd.modalities.methods import MethodName, NetworkName, methods_of

Modality = Literal["rgb", "flow", "depth", "skeleton"]
MODALITIES: tuple[str, ...] = get_args(Modality)
BackboneName = Literal["conv4", "resnet18", "resnet34", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large"]
PositiveInt = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Base of all sections: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ToyConfig(Section):
    """The toy data set, made by the software."""

    clips_per_class: PositiveInt = 20
    frames: PositiveInt = 16  # of a raw clip
    size: PositiveInt = 72  # pixels
    clutter: Annotated[float, Field(ge=0, le=1)] = 0.6  # how much the background disturbs


class DataConfig(Section):
    """Where the data lies and how clips are read."""

    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "toy"
    root: Path = Path("data")  # everything that is made goes to root/dataset
    source: Path | None = None  # folder with videos/, splits/, …; root/dataset when not given
    splits: str | None = None  # folder of the lists below splits/; the dataset's name when not given
    frames: PositiveInt = 8  # T
    short_side: PositiveInt = 256  # pixels
    crop: PositiveInt = 224  # pixels
    flip: bool = True  # flip half of the training clips
    crop_scale: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)  # range of training crops, share of the side
    jitter: Annotated[float, Field(ge=0, lt=1)] = (
        0.0  # brightness and contrast of training clips, plus or minus
    )
    derive: dict[Modality, MethodName] = {}  # how a modality with no videos of its own is made
    weights: dict[NetworkName, str] = {}  # of the networks among these: download, random, or a file or folder
    on_bad_clip: Literal["error", "skip"] = "error"
    on_unlisted_class: Literal["error", "skip"] = "error"  # a class folder that stands in no list
    workers: PositiveInt | None = None  # processes of prepare; all cores when not given
    toy: ToyConfig = ToyConfig()


class EpisodeConfig(Section):
    """Training episodes."""

    way: Annotated[int, Field(ge=2)] = 5
    shot: PositiveInt = 5
    queries: PositiveInt = 5  # of each class


class EvaluationConfig(Section):
    """Validation and test episodes, the same for every model."""

    shots: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (5,)  # the first one is the main protocol
    queries: PositiveInt = 1
    val_episodes: PositiveInt = 1000
    test_episodes: PositiveInt = 10_000
    seed: Annotated[int, Field(ge=0)] = 0  # of the episodes; not the run's, so that runs are tested alike


class BackboneConfig(Section):
    """A per-frame backbone."""

    name: BackboneName = "resnet18"
    weights: str = "imagenet"  # imagenet (downloaded once), none, or a torchvision state dict's path
    pooling: Literal["mean", "flatten"] = "mean"  # of the 4 x 4 places of the last map
    normalise: Literal["imagenet", "centred", "motion", "none"] = "imagenet"


class HeadConfig(Section):
    """A few-shot head."""

    name: Literal["trx"] = "trx"
    width: PositiveInt = 1152  # of keys and values
    tuples: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (2,)
    dropout: Rate = 0.1


class TrainConfig(Section):
    """One training run."""

    episodes: PositiveInt = 70_000
    accumulate: PositiveInt = 16  # episodes of an optimiser step; their losses are averaged
    batch: PositiveInt = 1  # episodes that go through the model at once
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: PositiveFloat = 1.6e-3  # 1e-4 of the published sum over 16 episodes
    momentum: Rate = 0.0
    weight_decay: Weight = 0.0
    schedule: Literal["constant", "milestones", "cosine"] = "milestones"
    milestones: tuple[PositiveInt, ...] = (20_000, 40_000)  # episodes at which the rate drops by 10
    warmup: Annotated[int, Field(ge=0)] = 0  # episodes of linear warm-up
    clip_norm: PositiveFloat | None = None  # largest norm of the gradient
    average: Rate = 0.0  # decay of the weight average that is validated and kept, per step; 0 = none
    validations: PositiveInt = 20  # times val is read during the run
    recalibrate: Annotated[int, Field(ge=0)] = (
        0  # train clips to re-estimate batch norm on before val; 0 = leave
    )
    amp: bool = True  # mixed precision on a GPU


# Other defaults make a class of its own: setting one of its keys must not reset the others.
class ExpertBackboneConfig(BackboneConfig):
    """The per-frame backbone of an expert."""

    name: BackboneName = "resnet50"


class ExpertConfig(Section):
    """The model of one modality, of which every modality gets one."""

    backbone: ExpertBackboneConfig = ExpertBackboneConfig()
    width: PositiveInt = 2048
    head: HeadConfig = HeadConfig()
    dropout: Rate = 0.0
    train: TrainConfig = TrainConfig()


class FusionConfig(Section):
    """The fusion of the teacher."""

    shift: Literal["opposite", "none", "published-train", "published-extract"] = "opposite"
    layers: PositiveInt = 2
    feed_forward: PositiveInt = 2048
    dropout: Rate = 0.1


class TeacherTrainConfig(TrainConfig):
    """The training run of the teacher."""

    episodes: PositiveInt = 50_000
    batch: PositiveInt = 16
    lr: PositiveFloat = 8e-4
    schedule: Literal["constant", "milestones", "cosine"] = "constant"
    milestones: tuple[PositiveInt, ...] = ()


class TeacherConfig(Section):
    """The multi-modal teacher."""

    modalities: Annotated[tuple[Modality, ...], Field(min_length=1, max_length=4)] = ("rgb", "flow", "depth")
    experts: Literal["train", "features"] = "train"  # train one a modality, or read features on disk
    expert: ExpertConfig = ExpertConfig()
    fusion: FusionConfig = FusionConfig()
    head: HeadConfig = HeadConfig()
    train: TeacherTrainConfig = TeacherTrainConfig()


class StudentConfig(Section):
    """The light student."""

    backbone: BackboneConfig = BackboneConfig()
    width: PositiveInt = 2048
    head: HeadConfig = HeadConfig()
    dropout: Rate = 0.0
    train: TrainConfig = TrainConfig()


class LossConfig(Section):
    """D2M: weights and forms of its terms; see `litemkd.losses.D2M`."""

    ce: Weight = 1 / 16
    ce_distill: Weight = 0.0
    kd: Weight = 1.0
    support: Weight = 0.5
    feature: Weight = 0.0
    temperature: PositiveFloat = 4.0
    standardise_logits: bool = False
    support_form: Literal["published", "tempered"] = "published"
    support_temperature: PositiveFloat = 1.0


class Config(Section):
    """Everything."""

    seed: Annotated[int, Field(ge=0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: PositiveInt | None = None  # of torch on the CPU; all cores when not given
    output: Path = Path("checkpoints")  # where training checkpoints go
    data: DataConfig = DataConfig()
    episode: EpisodeConfig = EpisodeConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    loss: LossConfig = LossConfig()

    @property
    def dataset_dir(self) -> Path:
        """Folder of everything that is made of the data set."""
        return self.data.root / self.data.dataset

    @property
    def source_dir(self) -> Path:
        """Folder of what the data set is made from."""
        return self.data.source or self.dataset_dir

    @property
    def modalities(self) -> tuple[str, ...]:
        """All modalities in use: RGB for the student and those of the teacher."""
        return tuple(dict.fromkeys(("rgb", *self.teacher.modalities)))


def load_config(file: Path | None, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a file and `key=value` overrides.

    A file may name another one, relative to itself, under `base`; its own keys override that one's.

    Raises:
        ConfigError: everything that is wrong with file and overrides, at once.
    """
    problems: list[str] = []
    values = _read(file, problems) if file is not None else {}
    for override in overrides:
        _override(values, override, problems)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems += [_explain(item, values) for item in error.errors()]
        raise ConfigError(problems) from None
    problems += _impossible(config)
    if problems:
        raise ConfigError(problems)
    return config


def flatten(section: BaseModel | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a section, in order, with plain values."""
    values = section.model_dump(mode="json") if isinstance(section, BaseModel) else section
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def digest_of(*parts: BaseModel | Mapping[str, Any] | Sequence[Any] | str | int) -> str:
    """A short digest of configuration sections and other plain values."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _read(file: Path, problems: list[str], seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{file}: no such file; experiments/ holds ready ones"]) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"{file}: not readable as YAML: {' '.join(str(error).split())}"]) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError([f"{file}: holds a {type(values).__name__}; a mapping of keys to values would do"])
    base = values.pop("base", None)
    if base is None:
        return values
    below = (file.parent / str(base)).resolve()
    if below in seen:
        problems.append(f"{file}: base: {base} leads back to this file")
        return values
    return _merge(_read(below, problems, (*seen, file.resolve())), values)


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _override(values: dict[str, Any], override: str, problems: list[str]) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        problems.append(
            f"override `{override}`: not of the form key=value, for instance student.train.lr=0.001"
        )
        return
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    place = values
    *parents, last = key.strip().split(".")
    for parent in parents:
        below = place.get(parent)
        place[parent] = place = dict(below) if isinstance(below, dict) else {}
    place[last] = value


def _explain(item: Any, values: Mapping[str, Any]) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        known = [*flatten(Config()), *_sections(Config, "")]
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5) or [
            name for name in known if name.split(".")[-1] == path[-1]
        ]
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(_siblings(path))}"
        return f"{key}: no such key; {hint}"
    given = item.get("input")
    return f"{key}: {given!r} given; {item['msg'][:1].lower() + item['msg'][1:]}"


def _sections(model: type[BaseModel], prefix: str) -> Iterable[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"{prefix}{name}"
            yield from _sections(field.annotation, f"{prefix}{name}.")


def _siblings(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Config
    for part in path[:-1]:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return list(model.model_fields)


def _impossible(config: Config) -> list[str]:
    problems = []
    data, teacher = config.data, config.teacher
    for modality, method in data.derive.items():
        if method not in methods_of(modality):
            would = ", ".join(methods_of(modality)) or "nothing: rgb is the videos themselves"
            problems.append(f"data.derive.{modality}: {method!r} given; {would} would do")
    if data.crop > data.short_side:
        problems.append(f"data.crop: {data.crop} given; at most data.short_side = {data.short_side} would do")
    if config.loss.support and config.episode.way < 4:
        problems.append(
            f"loss.support: {config.loss.support} given; with episode.way = {config.episode.way} the support "
            "term has no gradient (a correlation of fewer than 3 numbers): 0, or 4 ways or more, would do"
        )
    for key, backbone in (
        ("student.backbone", config.student.backbone),
        ("teacher.expert.backbone", teacher.expert.backbone),
    ):
        if backbone.name == "conv4" and backbone.weights == "imagenet":
            problems.append(f"{key}.weights: 'imagenet' given; conv4 has none, `none` or a file would do")
    low, high = data.crop_scale
    if low > high:
        problems.append(f"data.crop_scale: [{low}, {high}] given; the smaller number must come first")
    if len(set(teacher.modalities)) != len(teacher.modalities):
        problems.append(f"teacher.modalities: {list(teacher.modalities)} given; each may stand once")
    for key, head in (
        ("student.head", config.student.head),
        ("teacher.head", teacher.head),
        ("teacher.expert.head", teacher.expert.head),
    ):
        if len(set(head.tuples)) != len(head.tuples) or max(head.tuples) > data.frames:
            problems.append(
                f"{key}.tuples: {list(head.tuples)} given; "
                f"distinct numbers from 1 to data.frames = {data.frames}"
            )
    for key, train in (
        ("student.train", config.student.train),
        ("teacher.train", teacher.train),
        ("teacher.expert.train", teacher.expert.train),
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
