"""Every setting with its default, by section. The defaults are the published settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from litemkd.config.folds import Folds, apart
from litemkd.config.loss import LossConfig
from litemkd.config.modalities import OwnModalities, check_names
from litemkd.config.names import EVERY_KEY, Section, named, one_of, said
from litemkd.config.own import Own, is_own, keys_of, mistake, own, own_settings
from litemkd.config.words import WordsConfig
from litemkd.errors import ConfigError
from litemkd.modalities.registry import modality
from litemkd.models.catalogue import (
    ALIASES,
    BACKBONES,
    HEAD_SETTINGS,
    SOURCES,
    canonical,
    is_backbone,
    near_backbones,
    source_of,
)
from litemkd.models.tuning import ALL, FROZEN, Tuning

if TYPE_CHECKING:
    from litemkd.modalities.record import Modality


def _finder(module: str, wanted: str) -> Callable[[str], type]:
    """Finds classes of others. They are made of torch, which takes seconds to load: only where one is named."""
    return lambda name: getattr(import_module(f"litemkd.models.{module}"), wanted).find(name)


find_head = _finder("heads", "OWN_HEAD")
find_backbone = _finder("networks", "OWN_BACKBONE")


def find_expert(name: str) -> type:
    """Finds experts of whole clips, as the finders above."""
    return import_module("litemkd.models.named_experts").find_expert(name)


def looks_at_arrays(expert: str) -> bool:
    """Whether an expert looks at arrays by frame, and not at pictures."""
    return bool(getattr(find_expert(expert), "kind", "frames") == "arrays")


def _backbone(name: str) -> str:
    """Checks that a backbone has this name, and gives it the one name that it goes by."""
    if is_backbone(name):
        return canonical(name)
    if source_of(name)[0] not in SOURCES and is_own(name, "litemkd.backbones"):
        return _found(find_backbone, name)
    near = near_backbones(name)
    known = f"known: {', '.join((*BACKBONES, *ALIASES))}, and torchvision:NAME or timm:NAME"
    hint = f"did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else known
    raise PydanticCustomError("unknown", "no such backbone; {hint}", {"hint": hint})


def _head(name: str) -> str:
    """Checks that a head has this name."""
    if name not in HEAD_SETTINGS and is_own(name, "litemkd.heads"):
        return _found(find_head, name)
    return one_of("head", HEAD_SETTINGS)(name)


def _found(find: Callable[[str], type], name: str) -> str:
    try:
        find(name)
    except ValueError as error:
        raise mistake(str(error)) from error
    return name


def _tune(text: str) -> str:
    try:
        return str(Tuning.read(text))
    except ValueError as error:
        raise mistake(str(error)) from error


BackboneName = Annotated[
    str, AfterValidator(_backbone), named(*BACKBONES, *(one for one in ALIASES if one not in BACKBONES))
]
TuneName = Annotated[str, AfterValidator(_tune)]
HeadName = Annotated[str, AfterValidator(_head), named(*HEAD_SETTINGS)]
PositiveInt = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Temporal = Literal[
    "none",
    "difference",
    "shift",
    "shift-causal",
    "difference+shift",
    "difference+shift-causal",
    "excite",
    "difference+excite",
]


class ToyConfig(Section):
    """The toy data set, made by the software."""

    clips_per_class: PositiveInt = said(20, "clips of each class")
    frames: PositiveInt = said(16, "of a video")
    size: PositiveInt = said(72, "of the videos, pixels")
    clutter: Annotated[float, Field(ge=0, le=1)] = said(0.6, "how much the background disturbs")


class DataConfig(Section):
    """Where the data lies and how clips are read."""

    later: ClassVar[frozenset[str]] = frozenset({"modalities", "classes", "folds", "fold", "division", "pack"})

    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = said(
        "toy", "its name, of letters, digits, `_`, `.` and `-`"
    )
    root: Path = said(Path("data"), "everything that is made goes to `root/dataset`")
    source: Path | None = said(None, "folder with `videos/`, `splits/`, …; `root/dataset` when not given")
    videos: Path | None = said(
        None, "folder of videos as it came out of an archive, in place of `source/videos`"
    )
    lists: Path | None = said(None, "folder of published lists, checked and copied to `splits/`")
    modalities: OwnModalities = said(
        {}, 'modalities of your own by name, `edges: {use: "module:Class"}`; see docs/extending.md#a-modality'
    )
    frames_zip: dict[str, Path] = said(
        {}, "zip files of frames by modality; `<modality>_l8.zip` is found by itself"
    )
    splits: str | None = said(None, "folder of the lists below `splits/`; the data set's name when not given")
    frames: PositiveInt = said(8, "T, of a clip")
    short_side: PositiveInt = said(256, "of prepared frames, pixels")
    crop: PositiveInt = said(224, "side of the square that models see, pixels")
    flip: bool = said(True, "flip half of the training clips")
    crop_scale: tuple[PositiveFloat, PositiveFloat] = said(
        (1.0, 1.0), "range of training crops, share of the short side; 1 cuts `crop` pixels as they are"
    )
    jitter: Rate = said(0.0, "brightness and contrast of training clips, plus or minus this share")
    derive: dict[str, str] = said(
        {}, "how a modality with no videos of its own is made, such as `flow: raft`; see docs/modalities.md"
    )
    weights: dict[str, str] = said(
        {}, "of its networks, such as `raft: download`: `download`, `random`, or a file or folder"
    )
    on_bad_clip: Literal["error", "skip"] = said("error", "clips that cannot be read")
    on_unlisted_class: Literal["error", "skip"] = said("error", "a class folder that stands in no list")
    on_missing: Literal["error", "skip"] = said(
        "error", "listed clips that are not there, and counts other than the published ones"
    )
    make_splits: dict[Literal["train", "val", "test"], PositiveFloat] = said(
        {"train": 0.6, "val": 0.2, "test": 0.2}, "shares of the classes, for data without lists"
    )
    classes: dict[Literal["train", "val", "test"], tuple[str, ...]] = said(
        {},
        "of train, val and test by name, such as `test: [star, up]`, for data without lists; see "
        "docs/datasets.md",
    )
    folds: Folds = said(
        None, "so many divisions that test each class once, or the divisions themselves; see docs/folds.md"
    )
    fold: Annotated[int, Field(ge=0)] | None = said(None, "which of them a run is of, from 0; `--fold`")
    division: Annotated[int, Field(ge=0)] = said(
        0,
        "which of the classes that are not tested are val; 0: those of the lists; see "
        "docs/searching.md#how-trials-are-judged",
    )
    split_seed: Annotated[int, Field(ge=0)] = said(
        0, "which class goes where, for data without lists and in folds"
    )
    pack: Literal["auto", "encoded", "raw"] = said(
        "auto",
        "what packs hold: `raw`, the pixels of all frames; `encoded`, the files of the frames, which take "
        "the JPEGs' own space and are decoded when they are read; `auto` takes the one that is there, "
        "else `encoded` where raw ones would take more than half of the memory or of the free disk. "
        "Pixels, digests and results are the same",
    )
    workers: PositiveInt | None = said(
        None, "processes, or threads beside a network, that prepare; all cores when not given"
    )
    toy: ToyConfig = ToyConfig()

    @field_validator("classes")
    @classmethod
    def _apart(cls, given: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return apart(given)

    @property
    def fold_count(self) -> int:
        """How many folds there are; 0 without."""
        return self.folds if isinstance(self.folds, int) else len(self.folds or ())

    @property
    def own_modalities(self) -> dict[str, dict[str, Any]]:
        """What is named from outside, by name: what to `use`, and its settings."""
        return {name: one.model_dump() for name, one in self.modalities.items()}


class EpisodeConfig(Section):
    """Training episodes."""

    way: Annotated[int, Field(ge=2)] = said(5, "W, classes of an episode, in training and in tests")
    shot: PositiveInt = said(5, "K, supports of each class in training")
    queries: PositiveInt = said(5, "of each class")


class EvaluationConfig(Section):
    """Validation and test episodes, the same for every model."""

    later: ClassVar[frozenset[str]] = frozenset({"report", "pictures"})

    shots: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = said(
        (5,), "K; the first one is the main protocol"
    )
    queries: PositiveInt = said(1, "of each class")
    val_episodes: PositiveInt = said(1000, "that choose the checkpoint")
    test_episodes: PositiveInt = said(10_000, "of each number of shots")
    seed: Annotated[int, Field(ge=0)] = said(0, "of the episodes; not the run's, so that runs are tested alike")
    report: bool = said(True, "a page of pictures with every test of a student, see docs/show.md")
    pictures: bool = said(True, "learning curves, confusion matrices and the like with every run")


class BackboneConfig(Section):
    """A per-frame backbone."""

    later: ClassVar[frozenset[str]] = frozenset({"settings"})

    name: BackboneName = said(
        "resnet18", "the network, or any of `torchvision:NAME`, `timm:NAME`; see docs/backbones.md"
    )
    weights: str = said(
        "imagenet",
        "`imagenet` (the published ones, downloaded once), `none`, `package`, or the path of a file or "
        "folder; see docs/backbones.md#weights",
    )
    pooling: Literal["mean", "flatten", "average", "token"] = said(
        "mean",
        "of the 4 x 4 places of the last map their `mean`, or all (`flatten`); `average` is the mean of the "
        "whole map, `token` the class token of a transformer",
    )
    normalise: Literal["imagenet", "centred", "motion", "none"] = said(
        "imagenet",
        "of frames: `imagenet` is as the published weights want it, `motion` takes each clip's mean frame away",
    )
    settings: Annotated[dict[str, Any], Field(validate_default=True)] = said(
        {}, "of a backbone of your own, whose `name` is `module:Class`; see docs/extending.md#a-backbone"
    )

    @field_validator("settings", mode="before")
    @classmethod
    def _of_its_class(cls, given: Any, info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("name")
        return own_settings(find_backbone, name, given, ours=is_backbone(str(name)))


class _Head(Section):
    """A few-shot head. The other keys are the settings of those that come with litemkd."""

    later: ClassVar[frozenset[str]] = frozenset({"settings"})

    name: HeadName = said("trx", "how clips are compared; see docs/heads.md")
    settings: Annotated[dict[str, Any], Field(validate_default=True)] = said(
        {}, "of a head of your own, whose `name` is `module:Class`; see docs/extending.md#a-head"
    )

    @field_validator("settings", mode="before")
    @classmethod
    def _of_its_class(cls, given: Any, info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("name")
        return own_settings(find_head, name, given, ours=name in HEAD_SETTINGS)

    # A key that is younger than the first version is dumped with the heads that take it alone.
    def _told(self, key: str) -> bool:
        return super()._told(key) and (key in _FIRST_HEAD_KEYS or key in HEAD_SETTINGS.get(self.name, ()))


_FIRST_HEAD_KEYS = frozenset(
    {"name", "settings", "width", "tuples", "dropout", "smoothing", "support", "distance", "scale"}
)

if TYPE_CHECKING:

    class HeadConfig(_Head):
        """As below; its keys are known when the heads' files are read."""

        def __init__(self, **values: Any) -> None: ...
        def __getattr__(self, key: str) -> Any: ...
else:
    HeadConfig = create_model(
        "HeadConfig",
        __base__=_Head,
        __module__=__name__,
        __doc__=_Head.__doc__,
        **keys_of("heads", HEAD_SETTINGS.values()),
    )


class TrainConfig(Section):
    """One training run."""

    later: ClassVar[frozenset[str]] = frozenset({"eight_bits"})

    episodes: PositiveInt = said(70_000, "to train on")
    accumulate: PositiveInt = said(16, "episodes of an optimiser step; their losses are averaged")
    batch: PositiveInt = said(1, "episodes that go through the model at once")
    optimizer: Literal["sgd", "adam", "adamw"] = said("sgd", "steps the weights")
    lr: PositiveFloat = said(1.6e-3, "learning rate; 1e-4 of the published sum over 16 episodes")
    momentum: Rate = said(0.0, "of `sgd`")
    weight_decay: Weight = said(0.0, "not of biases and norms")
    schedule: Literal["constant", "milestones", "cosine"] = said("milestones", "of the learning rate")
    milestones: tuple[PositiveInt, ...] = said((20_000, 40_000), "episodes at which the rate drops by 10")
    warmup: Annotated[int, Field(ge=0)] = said(0, "episodes of linear warm-up")
    clip_norm: PositiveFloat | None = said(None, "largest norm of the gradient")
    average: Rate = said(0.0, "decay, by step, of the weight average that is validated and kept; 0 = none")
    validations: PositiveInt = said(20, "times val is read during the run")
    recalibrate: Annotated[int, Field(ge=0)] = said(
        0, "train clips to re-estimate batch norm on before val; 0 = leave it"
    )
    amp: bool = said(True, "mixed precision on a GPU")
    clips_at_once: PositiveInt | None = said(
        None, "clips through the backbone in one pass; all of a `batch` when not given"
    )
    checkpoint_activations: bool = said(
        False,
        "compute the backbone's activations again in the backward pass; see docs/scaling.md#memory-of-a-gpu",
    )
    compile: bool = said(False, "the backbone by `torch.compile`; not together with `checkpoint_activations`")
    eight_bits: Annotated[float, Field(ge=0, le=1)] = said(
        0.0,
        "share of the training, its last part, in which the backbone is rounded as in an export in int8; see "
        "docs/export.md#training-for-eight-bits",
    )

    @property
    def exact_episodes(self) -> int | None:
        """How many come before rounding begins; None where nothing is rounded."""
        return round(self.episodes * (1 - self.eight_bits)) if self.eight_bits else None


# Other defaults make a class of its own: setting one of its keys must not reset the others.
class ExpertBackboneConfig(BackboneConfig):
    """The per-frame backbone of an expert."""

    name: BackboneName = "resnet50"


class ExpertConfig(Section):
    """The model of one modality, of which every modality gets one."""

    later: ClassVar[frozenset[str]] = frozenset({"temporal", "tune", "views"})

    backbone: ExpertBackboneConfig = ExpertBackboneConfig()
    temporal: Temporal = said("none", "how its backbone sees motion; see docs/motion.md")
    width: PositiveInt = said(2048, "D, of its features")
    head: HeadConfig = HeadConfig()
    dropout: Rate = said(0.0, "on the backbone's features")
    train: TrainConfig = TrainConfig()
    tune: TuneName = said(
        ALL,
        "which weights of the backbone are trained: `all`, `frozen`, `last:N`, `lora:R`; see "
        "docs/experts.md#what-is-trained",
    )
    views: PositiveInt = said(1, "of each train clip, where the backbone is `frozen`")

    @property
    def tuning(self) -> Tuning:
        """What of the backbone is trained."""
        return Tuning.read(self.tune)

    @property
    def frozen(self) -> bool:
        """Whether nothing of the backbone is trained."""
        return self.tuning.way == FROZEN


class OwnExpert(Own):
    """An expert that looks at whole clips, its settings beside it. The other keys are those of its `expert`."""

    later: ClassVar[frozenset[str]] = frozenset({"tune", "views"})

    tune: TuneName | None = None
    views: PositiveInt | None = None


# What a modality's own expert may be: a class, or another per-frame network by some keys of `teacher.expert`.
_whole_clips = own(find_expert, "expert", base=OwnExpert)


def _stream(given: Any) -> Any:
    if given == {}:
        raise mistake("`use`, which names a class, or keys of teacher.expert would do")
    if isinstance(given, Mapping) and "use" not in given:
        return dict(given)  # checked with the keys of `teacher.expert`, which stand beside it
    return _whole_clips.func(given)  # type: ignore[call-arg]


class FusionConfig(Section):
    """The fusion of the teacher."""

    shift: Literal["opposite", "none", "published-train", "published-extract"] = said(
        "opposite",
        "how the modalities of a pair are shifted by a frame; see "
        "docs/architecture.md#what-differs-from-the-published-code",
    )
    layers: Annotated[int, Field(ge=0)] = said(
        2, "of the Transformers; `0` for no fusion, with one modality: its features go to the head as they are"
    )
    feed_forward: PositiveInt = said(2048, "their inner width")
    dropout: Rate = said(0.1, "of the Transformers and after them")


_NO_EFFECT = "of no effect: the teacher works on features"


class TeacherTrainConfig(TrainConfig):
    """The training run of the teacher."""

    episodes: PositiveInt = 50_000
    batch: PositiveInt = 16
    lr: PositiveFloat = said(8e-4, "learning rate; 5e-5 of the published sum over 16 episodes")
    schedule: Literal["constant", "milestones", "cosine"] = "constant"
    milestones: tuple[PositiveInt, ...] = ()
    clips_at_once: PositiveInt | None = said(None, _NO_EFFECT)
    checkpoint_activations: bool = said(False, _NO_EFFECT)
    compile: bool = said(False, _NO_EFFECT)
    eight_bits: Annotated[float, Field(ge=0, le=1)] = said(0.0, _NO_EFFECT)


class TeacherConfig(Section):
    """The multi-modal teacher."""

    later: ClassVar[frozenset[str]] = frozenset({"streams", "words"})

    modalities: Annotated[tuple[str, ...], Field(min_length=1, max_length=4)] = said(
        ("rgb", "flow", "depth"), "the first one is paired with each of the others"
    )
    experts: Literal["train", "features"] = said("train", "`train` one a modality, or read `features` on disk")
    streams: dict[str, Annotated[Any, PlainValidator(_stream)]] = said(
        {}, "by modality, what its expert has in the place of `teacher.expert`; see docs/experts.md"
    )
    words: WordsConfig | None = said(
        None, "names of the supports' classes, through CLIP's text tower; see docs/words.md"
    )
    expert: ExpertConfig = ExpertConfig()
    fusion: FusionConfig = FusionConfig()
    head: HeadConfig = HeadConfig()
    train: TeacherTrainConfig = TeacherTrainConfig()

    @model_validator(mode="after")
    def _streams_are_experts(self) -> Self:
        for name, given in self.streams.items():
            if isinstance(given, dict):
                self.streams[name] = _plain(_overridden(self.expert, given, ("streams", name)), given)
        return self

    def own_expert(self, modality: str) -> OwnExpert | None:
        """The section of a modality's expert that looks at whole clips, if it has one."""
        found = self.streams.get(modality)
        return found if isinstance(found, OwnExpert) else None

    def expert_for(self, modality: str) -> ExpertConfig:
        """The section of a modality's expert: `expert` with what its stream says instead."""
        given = self.streams.get(modality)
        if isinstance(given, OwnExpert):
            given = given.model_dump(include={"tune", "views"}, exclude_none=True)
        return self.expert if not given else _overridden(self.expert, given, ())

    def expert_of(self, modality: str) -> BaseModel | Sequence[Any]:
        """All that the expert of a modality is set to, for digests."""
        own = self.own_expert(modality)
        if own is None:
            return self.expert_for(modality)
        return [self.expert.model_dump(mode="json"), own.model_dump(mode="json")]

    def key_of(self, modality: str, key: str) -> str:
        """Where a key of a modality's expert is set, for messages: in its stream, or for all."""
        given = self.streams.get(modality, {})
        if isinstance(given, OwnExpert):
            given = given.model_dump()
        own = key.partition(".")[0] in given
        return f"teacher.streams.{modality}.{key}" if own else f"teacher.expert.{key}"

    @property
    def networks(self) -> str:
        """What the experts are, for people: the backbone's name, and those of whole clips."""
        names = (
            getattr(self.own_expert(one), "use", self.expert_for(one).backbone.name) for one in self.modalities
        )
        return "+".join(dict.fromkeys(names))


def _overridden(expert: ExpertConfig, given: Mapping[str, Any], place: tuple[str, ...]) -> ExpertConfig:
    """An expert's section with other values of some keys; another network has no settings of the first.

    Raises:
        ValidationError: what is wrong with them, at `place`.
    """
    values = expert.model_dump(mode="json")
    backbone = given.get("backbone")
    if isinstance(backbone, Mapping) and "name" in backbone:
        values["backbone"].pop("settings", None)
    try:
        return ExpertConfig.model_validate(_over(values, given))
    except ValidationError as error:
        raise ValidationError.from_exception_data(
            "streams",
            [
                InitErrorDetails(
                    type=PydanticCustomError(one["type"], "{words}", _context(one["msg"], one["loc"])),
                    loc=(*place, *one["loc"]),
                    input=one["input"],
                )
                for one in error.errors()
            ],
        ) from None


def _context(words: str, place: Sequence[str | int]) -> dict[str, Any]:
    """Of a mistake at a place of an expert's section: its words, and the keys that there are."""
    section: Any = ExpertConfig
    for part in place[:-1]:
        section = (
            section.model_fields[part].annotation if part in getattr(section, "model_fields", ()) else None
        )
    return {"words": words, "known": list(getattr(section, "model_fields", ()))}


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    inside = {key: _over(below[key], value) for key, value in above.items() if _both(below.get(key), value)}
    return {**below, **above, **inside}


def _both(one: object, other: object) -> bool:
    return isinstance(one, Mapping) and isinstance(other, Mapping)


def _plain(whole: ExpertConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that were given, with the plain values that they have in the whole."""

    def taken(section: Any, keys: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: taken(value, inside)
            if isinstance(value := getattr(section, key), BaseModel) and isinstance(inside, Mapping)
            else TypeAdapter(Any).dump_python(value, mode="json")
            for key, inside in keys.items()
        }

    return taken(whole, given)


class StudentConfig(Section):
    """The light student."""

    later: ClassVar[frozenset[str]] = frozenset({"temporal"})

    backbone: BackboneConfig = BackboneConfig()
    temporal: Temporal = said("none", "how its backbone sees motion; see docs/motion.md")
    width: PositiveInt = said(2048, "D, of the branches")
    branches: Literal[1, 2] = said(2, "one for the labels and one for the teacher, or `1` for both")
    head: HeadConfig = HeadConfig()
    dropout: Rate = said(0.0, "on the backbone's features")
    train: TrainConfig = TrainConfig()


class Config(Section):
    """The whole experiment."""

    seed: Annotated[int, Field(ge=0)] = said(0, "of weights, training episodes, augmentation, dropout")
    device: Literal["auto", "cpu", "cuda"] = said("auto", "what computes; `auto` is a GPU where there is one")
    threads: PositiveInt | None = said(None, "of torch on the CPU; all cores when not given")
    deterministic: bool = said(
        False,
        "on a GPU, kernels that give the same bits each time, slower; a CPU's do with `threads: 1`, see "
        "docs/resume.md",
    )
    output: Path = said(Path("checkpoints"), "where training checkpoints go")
    save_minutes: Annotated[float, Field(ge=0, allow_inf_nan=False)] = said(
        1.0, "between two states of a training, beside those at validations; 0 saves after each step"
    )
    keep_states: PositiveInt = said(2, "newest states that are kept; of a damaged one the one before is used")
    data: DataConfig = DataConfig()
    episode: EpisodeConfig = EpisodeConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    loss: LossConfig = LossConfig()

    @model_validator(mode="after")
    def _known(self) -> Self:
        data = self.data
        names: dict[tuple[str | int, ...], str] = {
            ("teacher", "modalities", place): name for place, name in enumerate(self.teacher.modalities)
        }
        names |= {("teacher", "streams", name): name for name in self.teacher.streams}
        names |= {("data", key, name): name for key in ("derive", "frames_zip") for name in getattr(data, key)}
        check_names(data.modalities, names)
        return self

    def modality(self, name: str) -> Modality:
        """The record of a modality by its name in this configuration.

        Raises:
            ConfigError: there is none, as of a registered teacher that was trained with one of somebody's own.
        """
        try:
            return modality(name, **self.data.own_modalities.get(name, {}))
        except ValueError as error:
            would = f"its class in data.modalities.{name}.use would do"
            raise ConfigError([f"teacher.modalities: {name!r} given: {error}; {would}"]) from error

    @property
    def dataset_dir(self) -> Path:
        """Folder of everything that is made of the data set."""
        return self.data.root / self.data.dataset

    @property
    def made_dir(self) -> Path:
        """Folder of what the experiment makes of the data set: of a fold, or division, one of its own."""
        data, folder = self.data, self.dataset_dir
        if data.fold is not None:
            division = digest_of([data.folds, data.classes, data.splits, data.split_seed, data.make_splits])
            folder = folder / "folds" / f"{data.fold_count}_{division[:8]}" / str(data.fold)
        return folder / "divisions" / str(data.division) if data.division else folder

    @property
    def source_dir(self) -> Path:
        """Folder of what the data set is made from."""
        return self.data.source or self.dataset_dir

    @property
    def modalities(self) -> tuple[str, ...]:
        """All modalities of which frames are read: RGB for the student, and those experts are trained on."""
        if self.teacher.experts == "features":
            return ("rgb",)
        return tuple(dict.fromkeys(("rgb", *self.teacher.modalities)))


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


def every_key(section: Section) -> dict[str, Any]:
    """As `flatten`, with the younger keys that hold their defaults, and those of heads that are not chosen."""
    return flatten(section.model_dump(mode="json", context=EVERY_KEY))


def digest_of(*parts: BaseModel | Mapping[str, Any] | Sequence[Any] | str | int) -> str:
    """A short digest of configuration sections and other plain values."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]
