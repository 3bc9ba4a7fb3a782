"""Configuration: defaults, files, overrides, and mistakes told all at once."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from litemkd.config import Config, LossConfig, TrainConfig, digest_of, flatten, load_config
from litemkd.errors import ConfigError


def problems(file=None, overrides=()):
    with pytest.raises(ConfigError) as caught:
        load_config(file, overrides)
    return caught.value.problems


def one(file=None, overrides=()):
    found = problems(file, overrides)
    assert len(found) == 1, found
    return found[0]


def save(path: Path, **values) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values))
    return path


def test_defaults_are_the_published_settings():
    config = load_config(None)
    assert config == Config()
    assert (config.episode.way, config.episode.shot, config.data.frames, config.data.crop) == (5, 5, 8, 224)
    assert config.evaluation.test_episodes == 10_000
    assert (config.loss.ce, config.loss.kd, config.loss.support, config.loss.temperature) == (1 / 16, 1, 0.5, 4)
    assert config.student.train.milestones == (20_000, 40_000)
    assert config.modalities == ("rgb", "flow", "depth")
    assert config.dataset_dir == Path("data/toy") == config.source_dir


def test_file_then_overrides(tmp_path):
    file = save(
        tmp_path / "a.yaml", seed=3, student={"train": {"lr": 0.5, "episodes": 32}}, data={"dataset": "x"}
    )
    config = load_config(
        file,
        [
            "student.train.lr=1e-3",
            "student.head.tuples=[2, 3]",
            "data.dataset=y=z".replace("=z", ""),
            "threads=2",
            "data.derive.flow=dis",
            "data.source=/some/where",
            "evaluation.shots=[1,5]",
            "student.backbone.weights=none",
        ],
    )
    assert config.seed == 3
    assert config.student.train.lr == 1e-3  # YAML reads 1e-3 as text
    assert config.student.train.episodes == 32
    assert config.student.train.accumulate == 16
    assert config.student.head.tuples == (2, 3)
    assert config.data.dataset == "y"
    assert config.threads == 2
    assert config.data.derive == {"flow": "dis"}
    assert config.source_dir == Path("/some/where")
    assert config.evaluation.shots == (1, 5)
    assert config.student.backbone.weights == "none"


def test_the_later_override_wins():
    assert load_config(None, ["seed=1", "seed=2"]).seed == 2


def test_a_value_may_hold_an_equals_sign():
    assert load_config(None, ["student.backbone.weights=a=b.pt"]).student.backbone.weights == "a=b.pt"


@pytest.mark.parametrize(
    ("override", "section", "changed"),
    [
        ("teacher.train.lr=0.125", lambda c: c.teacher.train, {"lr": 0.125}),
        ("teacher.expert.backbone.normalise=none", lambda c: c.teacher.expert.backbone, {"normalise": "none"}),
        ("teacher.expert.width=64", lambda c: c.teacher.expert, {"width": 64}),
        ("teacher.fusion.layers=1", lambda c: c.teacher.fusion, {"layers": 1}),
        ("student.train.lr=0.125", lambda c: c.student.train, {"lr": 0.125}),
        ("teacher.head.width=64", lambda c: c.teacher.head, {"width": 64}),
    ],
)
def test_an_override_changes_its_key_and_nothing_else(override, section, changed):
    before, after = (section(config).model_dump() for config in (Config(), load_config(None, [override])))
    assert after == before | changed


def test_overrides_change_the_flat_form_at_their_key_only():
    for key, value in flatten(Config()).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or key.endswith(("frames", "batch")):
            continue
        if "dropout" in key or "momentum" in key or "average" in key or "jitter" in key or "clutter" in key:
            new = 0.5
        elif key.endswith((".crop", ".seed", "recalibrate", "warmup")):
            new = value + 1
        elif key == "student.branches":
            new = 1
        else:
            new = value * 2 or 1
        changed = flatten(load_config(None, [f"{key}={new}"]))
        assert {k for k, v in changed.items() if v != flatten(Config())[k]} == {key}, key


def test_base_files_chain_and_merge_deeply(tmp_path):
    save(tmp_path / "base.yaml", student={"train": {"lr": 0.5, "episodes": 64}}, seed=1)
    save(tmp_path / "mid" / "mid.yaml", base="../base.yaml", student={"train": {"lr": 0.25}}, data={"crop": 64})
    top = save(tmp_path / "mid" / "top.yaml", base="mid.yaml", seed=2)
    config = load_config(top)
    assert (config.student.train.lr, config.student.train.episodes, config.seed, config.data.crop) == (
        0.25,
        64,
        2,
        64,
    )


def test_a_circle_of_base_files_is_told(tmp_path):
    save(tmp_path / "a.yaml", base="b.yaml")
    save(tmp_path / "b.yaml", base="a.yaml")
    assert "base: a.yaml leads back" in one(tmp_path / "a.yaml")
    assert "leads back" in one(save(tmp_path / "self.yaml", base="self.yaml"))


def test_an_empty_file_is_the_defaults(tmp_path):
    (tmp_path / "e.yaml").write_text("# nothing\n")
    assert load_config(tmp_path / "e.yaml") == Config()


def test_unreadable_files_are_named(tmp_path):
    assert "none.yaml: no such file" in one(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1,\nb: 2")
    assert "bad.yaml: line 2: not readable as YAML: expected ',' or ']'" in one(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "list.yaml: holds a list; a mapping" in one(tmp_path / "list.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"dataset: \xe9\xff")
    assert "latin.yaml: not readable as YAML" in one(tmp_path / "latin.yaml")
    assert one(tmp_path) == f"{tmp_path}: not readable as YAML: it is a folder, not a file"
    save(tmp_path / "orphan.yaml", base="gone.yaml")
    assert "gone.yaml: no such file" in one(tmp_path / "orphan.yaml")


def test_keys_that_stand_twice_are_told_with_file_key_and_lines(tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text("seed: 1\nstudent:\n  train: {lr: 1, lr: 2}\n  width: 3\nseed: 2\n")
    top = tmp_path / "top.yaml"
    top.write_text("base: base.yaml\nloss:\n  kd: 1\n  ce: 1\n  kd: 2\nbase: base.yaml\n")
    assert problems(top, ["loss={kd: 1, kd: 2}", "nonsense"]) == [
        f"{top}: line 5: loss.kd: stands in line 3 already; once would do",
        f"{top}: line 6: base: stands in line 1 already; once would do",
        f"{base}: line 3: student.train.lr: stands in this line twice; once would do",
        f"{base}: line 5: seed: stands in line 1 already; once would do",
        "override `loss={kd: 1, kd: 2}`: line 1: kd: stands in this line twice; once would do",
        "override `nonsense`: not of the form key=value, for instance student.train.lr=0.001",
    ]


def test_a_merged_key_may_be_given_anew(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "student:\n  train: &t {lr: 0.5, episodes: 64}\n"
        "teacher:\n  train: {<<: *t, lr: 0.25}\n  head: {width: 64}\n"
    )
    config = load_config(file)
    assert (config.teacher.train.lr, config.teacher.train.episodes) == (0.25, 64)


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", ".1e-2", "10e-4", "0.001"])
def test_numbers_are_the_same_in_files_bases_and_overrides(tmp_path, text):
    (tmp_path / "base.yaml").write_text(f"student: {{train: {{lr: {text}}}}}\n")
    (tmp_path / "top.yaml").write_text(f"base: base.yaml\nloss: {{kd: {text}}}\n")
    config = load_config(tmp_path / "top.yaml", [f"teacher.train.lr={text}"])
    assert config.student.train.lr == config.loss.kd == config.teacher.train.lr == 1e-3


def test_whole_numbers_may_be_written_with_an_exponent():
    assert load_config(None, ["student.train.episodes=16e2"]).student.train.episodes == 1600
    assert load_config(None, ["evaluation.test_episodes=1.0e+3"]).evaluation.test_episodes == 1000
    assert one(None, ["student.train.episodes=1.5e0"]).startswith("student.train.episodes: 1.5 given; input")
    assert load_config(None, ['data.dataset="1e3"']).data.dataset == "1e3"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("student.train.lr0=1", "student.train.lr0: no such key; did you mean `student.train.lr`?"),
        ("student.trian.lr=1", "student.trian: no such key; did you mean `student.train`?"),
        ("studnet.train.lr=1", "studnet: no such key; did you mean `student`?"),
        ("temperature=2", "temperature: no such key; did you mean"),
        ("qqqqqq=2", "qqqqqq: no such key; known here: seed, device, threads"),
        ("loss.ww.qqqqqqqqqqqqqqqq=2", "loss.ww: no such key"),
        ("student.train.lr=0", "student.train.lr: 0 given; input should be greater than 0"),
        ("student.train.lr=.inf", "student.train.lr: inf given; input should be a finite number"),
        ("student.train.lr=.nan", "student.train.lr: nan given"),
        ("student.train.lr=fast", "student.train.lr: 'fast' given; input should be a valid number"),
        ("loss.kd=-1", "loss.kd: -1 given; input should be greater than or equal to 0"),
        ("episode.way=1", "episode.way: 1 given; input should be greater than or equal to 2"),
        ("episode.shot=1.5", "episode.shot: 1.5 given; input should be a valid integer"),
        ("seed=-1", "seed: -1 given"),
        ("student.head.dropout=1", "student.head.dropout: 1 given; input should be less than 1"),
        (
            "student.backbone.name=resnet19",
            "student.backbone.name: 'resnet19' given; no such backbone; did you mean `resnet18`?",
        ),
        (
            "student.backbone.name=mobilenet_v2",
            "student.backbone.name: 'mobilenet_v2' given; no such backbone; did you mean "
            "`torchvision:mobilenet_v2`?",
        ),
        (
            "student.backbone.name=timm:vit_tiny_patch16_225",
            "student.backbone.name: 'timm:vit_tiny_patch16_225' given; no such backbone; did you mean "
            "`timm:vit_tiny_patch16_224` or `timm:",
        ),
        (
            "teacher.expert.backbone.name=hub:?",
            "teacher.expert.backbone.name: 'hub:?' given; no such backbone; known: conv4, resnet18, resnet34, "
            "resnet50, mobilenet_v3_small, mobilenet_v3_large, efficientnet_b0, lite0, and torchvision:NAME or "
            "timm:NAME",
        ),
        (
            "student.backbone.name=timm:vit_base_patch32_plus_256",
            "student.backbone.weights: 'imagenet' given; timm:vit_base_patch32_plus_256 has none, `none` or a",
        ),
        ("student.head.eps=-1", "student.head.eps: -1 given; input should be greater than or equal to 0"),
        (
            "teacher.modalities=[rgb,sound]",
            "teacher.modalities.1: 'sound' given; input should be 'rgb', 'flow'",
        ),
        (
            "teacher.fusion.layers=0",
            "teacher.fusion.layers: 0 given, which fuses nothing, and 3 in teacher.modalities; 1 or more, or "
            "one modality, would do",
        ),
        ("teacher.modalities=[]", "teacher.modalities: [] given; tuple should have at least 1 item"),
        ("data.dataset=a/b", "data.dataset: 'a/b' given; string should match pattern"),
        ("data.flip=maybe", "data.flip: 'maybe' given; input should be a valid boolean"),
        (
            "data.derive.flow=raf",
            "data.derive.flow: 'raf' given; dis, raft, raft_small, flownet2 would do",
        ),
        ("student=3", "student: 3 given; input should be a valid dictionary"),
        ("student", "override `student`: not of the form key=value"),
        ("=3", "override `=3`: not of the form key=value"),
        # impossible together
        ("data.crop=300", "data.crop: 300 given; at most data.short_side = 256 would do"),
        ("data.crop_scale=[1.0, 0.5]", "data.crop_scale: [1.0, 0.5] given; the smaller number must come first"),
        ("teacher.modalities=[rgb,rgb]", "teacher.modalities: ['rgb', 'rgb'] given; each may stand once"),
        (
            "student.head.tuples=[2,2]",
            "student.head.tuples: [2, 2] given; distinct numbers from 1 to data.frames = 8",
        ),
        ("teacher.head.tuples=[9]", "teacher.head.tuples: [9] given"),
        ("teacher.expert.head.tuples=[9]", "teacher.expert.head.tuples: [9] given"),
        ("episode.way=3", "loss.support: 0.5 given; with episode.way = 3 the support term has no gradient"),
        (
            "student.backbone.name=conv4",
            "student.backbone.weights: 'imagenet' given; conv4 has none, `none` or a file would do",
        ),
        (
            "teacher.expert.backbone.name=conv4",
            "teacher.expert.backbone.weights: 'imagenet' given; conv4 has none",
        ),
        ("student.train.batch=3", "student.train.batch: 3 given; it must divide student.train.accumulate = 16"),
        (
            "student.train={eight_bits: 0.5, compile: true}",
            "student.train.eight_bits: 0.5 given beside compile; one",
        ),
        (
            "teacher.expert.train={eight_bits: 1, checkpoint_activations: true}",
            "teacher.expert.train.eight_bits: 1.0 given beside checkpoint_activations; one of them would do",
        ),
        (
            "student.train.eight_bits=2",
            "student.train.eight_bits: 2 given; input should be less than or equal to 1",
        ),
        ("student.train.episodes=4", "student.train.episodes: 4 given; at least one step of"),
    ],
)
def test_each_mistake_is_told_with_key_value_and_remedy(override, told):
    message = one(overrides=[override])
    assert message.startswith(told), message


def test_a_head_that_looks_between_frames_needs_two():
    for key in ("student.head", "teacher.head", "teacher.expert.head"):
        told = one(
            overrides=[
                "data.frames=1",
                "student.head.tuples=[1]",
                "teacher.head.tuples=[1]",
                "teacher.expert.head.tuples=[1]",
                f"{key}.name=molo",
            ]
        )
        assert told == (
            f"{key}.name: 'molo' given, which looks at what moves between frames, and data.frames = 1; "
            "data.frames of 2 or more would do"
        )


def test_what_makes_those_possible():
    load_config(None, ["episode.way=3", "loss.support=0"])
    load_config(None, ["episode.way=4"])
    load_config(None, ["student.backbone.name=conv4", "student.backbone.weights=none"])


def test_milestones_without_their_schedule():
    told = one(overrides=["student.train.schedule=cosine", "student.train.milestones=[5]"])
    assert told == "student.train.milestones: given, but student.train.schedule is cosine, not milestones"
    load_config(None, ["student.train.schedule=cosine"])  # the default milestones are nobody's mistake


def test_all_mistakes_at_once(tmp_path):
    file = save(
        tmp_path / "a.yaml",
        sed=3,
        student={"train": {"lr": -1}, "backbnoe": {}},
        episode={"way": 1, "shots": 5},
    )
    found = problems(file, ["loss.kd=much", "nonsense", "teacher.fusion.shift=left"])
    for part in (
        "sed: no such key; did you mean `seed`?",
        "student.train.lr: -1 given",
        "student.backbnoe: no such key; did you mean `student.backbone`?",
        "episode.way: 1 given",
        "episode.shots: no such key; did you mean `episode.shot`?",
        "loss.kd: 'much' given",
        "override `nonsense`",
        "teacher.fusion.shift: 'left' given",
    ):
        assert sum(problem.startswith(part) for problem in found) == 1, (part, found)
    assert len(found) == 8
    with pytest.raises(ConfigError, match="8 mistakes in the configuration:\n  - "):
        load_config(file, ["loss.kd=much", "nonsense", "teacher.fusion.shift=left"])


def test_all_impossible_combinations_at_once():
    found = problems(None, ["data.crop=300", "student.train.batch=3", "teacher.head.tuples=[9]", "nonsense"])
    assert len(found) == 4


def test_nothing_is_left_of_a_failed_override():
    values = {"student": {"train": {"lr": 1.0}}}
    assert load_config(None, ["student.train.lr=2"]).student.train.lr == 2
    assert values == {"student": {"train": {"lr": 1.0}}}


def as_overrides(config: Config) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in flatten(config).items()]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["student.train.schedule=cosine"],
        ["data.derive={flow: dis, skeleton: joints}", "teacher.modalities=[rgb, skeleton]", "data.source=/a b"],
        ["student.train.clip_norm=0.5", "threads=1", "data.splits=x", "loss.ce=0.1"],
    ],
)
def test_flat_form_makes_the_same_configuration(overrides):
    config = load_config(None, overrides)
    assert load_config(None, as_overrides(config)) == config


def test_flat_form_has_dotted_keys_and_plain_values():
    flat = flatten(Config())
    assert flat["student.train.lr"] == 1.6e-3
    assert flat["teacher.modalities"] == ["rgb", "flow", "depth"]
    assert flat["data.root"] == "data"
    json.dumps(flat)
    assert flatten(LossConfig(), "loss.")["loss.kd"] == 1.0


@settings(max_examples=25, deadline=None)
@given(
    lr=st.floats(1e-6, 10),
    seed=st.integers(0, 2**31),
    tuples=st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True),
    name=st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,8}", fullmatch=True),
)
def test_flat_form_round_trip_of_any_values(lr, seed, tuples, name):
    config = Config.model_validate(
        {"seed": seed, "data": {"dataset": name}, "student": {"train": {"lr": lr}, "head": {"tuples": tuples}}}
    )
    assert load_config(None, as_overrides(config)) == config


def test_digest_depends_on_values_and_on_nothing_else():
    one, two = TrainConfig(), TrainConfig(lr=2.0)
    assert digest_of(one) == digest_of(TrainConfig(episodes=70_000))
    assert len({digest_of(one), digest_of(two), digest_of(one, two), digest_of(two, one), digest_of("x")}) == 5
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 3
