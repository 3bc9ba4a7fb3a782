"""import-weights and export-weights as a user meets them: words, registry, figures, the way back, refusals."""

from __future__ import annotations

import io
import json
import pickle
import re
import shlex
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from litemkd.config import load_config
from litemkd.data.packs.pack import FramePack
from litemkd.errors import CheckpointError
from litemkd.models.student import Student
from litemkd.stages.build import TeacherBundle, build_student, describe_student, load_model
from litemkd.stages.import_weights import load_released
from litemkd.storage.checkpoints import save_model
from litemkd.tracking import download, list_versions
from tests.job import ROOT, SMOKE, Home
from tests.models.test_released_clip_fsar import WIDTH as CLIP_WIDTH
from tests.models.test_released_clip_fsar import state_of as clip_fsar
from tests.released import (
    FRAMES,
    WIDTH,
    StudentFile,
    TeacherFile,
    TrxFile,
    episode,
    seeded,
    write_file,
)

# Two clips of each class are enough for one shot and one query.
SMALL = ["data.toy.clips_per_class=2", "evaluation.shots=[1]", "episode.shot=1", "episode.queries=1"]
SETTINGS = [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("imports"))


@pytest.fixture(scope="module")
def file(home: Home) -> Path:
    return write_file(home.folder / "student.pt", seeded(StudentFile("mobilenet_v3_small")), 69999)


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["model_state_dict"]


def registered(home: Home, dataset: str, kind: str) -> list[int]:
    with home.entered():
        return [version.version for version in list_versions(f"litemkd-{dataset}-{kind}")]


def identical(one: Path, other: Path) -> None:
    first, second = state_of(one), state_of(other)
    assert set(first) == set(second)
    for name, tensor in first.items():
        assert second[name].dtype == tensor.dtype
        assert torch.equal(second[name], tensor), name


def test_a_student_without_data(home: Home, file: Path) -> None:
    result = home.must("import-weights", str(file), "--as", "student", "--dataset", "ucf101")
    lines = result.stdout.splitlines()
    assert lines[0] == (
        f"{file}: MobileNetV3-small student with two branches, features of 24, TRX on tuples of 2 (width 20), "
        "8 frames, iteration 69999"
    )
    assert lines[1].startswith(
        "input: 8 frames of 224 x 224 pixels from 0 to 1, not normalised, as published; "
    )
    assert lines[2].startswith("not measured: it does not compete for champion; --evaluate measures it")
    assert lines[3] == "registered model: litemkd-ucf101-student version 1"
    assert lines[4].startswith("browse the runs:  ")
    assert not (home.folder / "data").exists()

    version = home.client.get_model_version("litemkd-ucf101-student", "1")
    (run,) = home.runs(dataset="ucf101")
    assert (run.info.status, version.run_id) == ("FINISHED", run.info.run_id)
    for tags in (version.tags, run.data.tags):
        assert tags["litemkd.imported"] == "true"
        assert tags["litemkd.source_sha256"] == sha256(file.read_bytes()).hexdigest()
        assert tags["litemkd.source_file"] == "student.pt"
        assert tags["litemkd.iteration"] == "69999"
        assert (tags["litemkd.backbone"], tags["litemkd.head"]) == ("mobilenet_v3_small", "trx")
    assert run.data.tags["litemkd.stage"] == "import-weights"
    assert run.data.params["student.backbone.normalise"] == "none"
    assert (run.data.params["data.crop"], run.data.params["data.short_side"]) == ("224", "256")
    assert not {"litemkd.val_accuracy", "litemkd.test_accuracy", "litemkd.protocol"} & set(version.tags)
    assert float(version.tags["litemkd.gmacs_per_episode"]) > 10
    assert "not measured yet" in version.description
    assert not version.aliases


def test_the_registered_student_computes_what_the_file_does(home: Home, file: Path) -> None:
    with home.entered():
        folder = download("litemkd-ucf101-student", 1)
        student = load_model(folder)
        served = mlflow.pyfunc.load_model("models:/litemkd-ucf101-student/1")
    assert isinstance(student, Student)
    described = json.loads((folder / "model.json").read_text())
    assert (described["frames"], described["crop"], described["short_side"]) == (8, 224, 256)
    assert described["student"]["backbone"]["normalise"] == "none"
    published = StudentFile("mobilenet_v3_small")
    published.load_state_dict(state_of(file))
    frames, support, labels, query = episode(2, size=64)
    with torch.inference_mode():
        features = student.branch_features(student.frame_features(frames))
        here = student.predict(student(features, support[None], labels[None], query[None], 3))[0]
        there = published.eval()(frames, support, labels, query)
    torch.testing.assert_close(here, there, rtol=1e-5, atol=0.0)

    clips, support, labels, query = episode(1, way=2, size=224)
    marks = torch.full((len(clips),), -1)
    marks[support] = labels
    found = served.predict({"frames": clips.permute(0, 1, 3, 4, 2).numpy(), "labels": marks.numpy()})
    with torch.inference_mode():
        wanted = published(clips, support, labels, query.sort().values).softmax(-1)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_there_and_back(home: Home, tmp_path: Path, name: str, parallel: bool) -> None:
    before = write_file(tmp_path / "before.pt", seeded(StudentFile(name, parallel=parallel), seed=4), 123)
    home.must("import-weights", str(before), "--as", "student", "--dataset", "back")
    address = f"models:/litemkd-back-student/{registered(home, 'back', 'student')[0]}"
    after = tmp_path / "after.pt"
    result = home.must("export-weights", address, str(after))
    count = len(state_of(before))
    assert result.stdout == f"{after}: {address} in the released format, {count} tensors, iteration 123\n"
    assert torch.load(after, weights_only=True)["iteration"] == 123
    identical(before, after)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["after.pt", "before.pt"]


def test_measured_where_its_data_is(home: Home, file: Path) -> None:
    words = [*SETTINGS, "--set", "teacher.modalities=[rgb]"]
    result = home.must("import-weights", str(file), "--as", "student", "--evaluate", *words)
    (run,) = home.runs()
    metrics, name = run.data.metrics, "litemkd-toy-student"
    shown = f"{metrics['test/accuracy']:.2f} ± {metrics['test/accuracy_ci95']:.2f} %"
    assert f"imported student, 1-shot: {shown} on the test classes" in result.stdout
    assert f"imported student, val: {metrics['val/accuracy']:.2f} ± " in result.stdout
    assert f"{name}: version 1 (val {metrics['val/accuracy']:.4f} %, " in result.stdout
    version = home.client.get_model_version_by_alias(name, "champion")
    assert float(version.tags["litemkd.val_accuracy"]) == pytest.approx(metrics["val/accuracy"], abs=1e-4)
    assert float(version.tags["litemkd.test_accuracy"]) == pytest.approx(metrics["test/accuracy"], abs=1e-4)
    assert version.tags["litemkd.protocol"].startswith("5-way 1-shot, 8 frames, ")
    assert "| Data | not recorded; registered for toy |" in version.description
    assert (
        f"| Accuracy on test, 1-shot | {float(version.tags['litemkd.test_accuracy']):.2f} ± "
        in version.description
    )
    (pack,) = (home.data / "packs").glob("rgb_*")
    assert FramePack(pack).clip(0).shape[:2] == (8, 256)  # of the size that released weights want

    # `evaluate` finds the same, with a configuration that fits, and says what fits with another one.
    fitting = [*words, "--set", "data.crop=224", "--set", "data.short_side=256"]
    (again,) = home.made_by(lambda: home.must("evaluate", "--model", f"models:/{name}/1", *fitting))
    for one in ("test/accuracy", "test/accuracy_ci95"):
        assert again.data.metrics[one] == metrics[one]
    refused = home.run("evaluate", "--model", f"models:/{name}/1", *fitting, "--set", "data.crop=200")
    assert "made for data.crop = 224, the configuration says 200" in refused.stderr

    # A later one that was not measured does not take the alias away.
    home.must("import-weights", str(file), "--as", "student")
    assert registered(home, "toy", "student") == [2, 1]
    assert int(home.client.get_model_version_by_alias(name, "champion").version) == 1


def write_features(home: Home, modality: str, width: int) -> None:
    rng = np.random.default_rng(len(modality))
    for video in sorted((home.data / "videos").glob("*/*.mp4")):
        folder = home.data / "feature" / modality / video.parent.name / video.stem
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "f.npy", rng.standard_normal((FRAMES, width)).astype(np.float32))


def test_a_teacher(home: Home, tmp_path: Path) -> None:
    published = seeded(TeacherFile((2, 3)))
    path = write_file(tmp_path / "teacher.pt", published, 50000)
    result = home.must("import-weights", str(path), "--as", "teacher", "--dataset", "ucf101")
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        f"{path}: teacher of three modalities, features of 24, fusion of 2 layers, TRX on"
    )
    assert lines[1] == "modalities, not told by the file: rgb, skeleton, flow (--modalities)"
    assert lines[2] == (
        "shift published-extract: as the released features were made, from which released students learned "
        "(--shift)"
    )
    assert "registered model: litemkd-ucf101-teacher version 1" in lines
    tags = home.client.get_model_version("litemkd-ucf101-teacher", "1").tags
    assert (tags["litemkd.modalities"], tags["litemkd.shift"]) == ("rgb+skeleton+flow", "published-extract")
    assert tags["litemkd.imported"] == "true"
    assert "litemkd.fingerprint" not in tags  # it was not trained here: `distill` must not take it for its own

    words = ("--modalities", "rgb, flow,depth", "--shift", "published-train")
    result = home.must("import-weights", str(path), "--as", "teacher", "--dataset", "ucf101", *words)
    assert "shift published-train: as it was trained; the released features were made with" in result.stdout
    streams = [torch.randn(2, FRAMES, WIDTH, generator=torch.Generator().manual_seed(m)) for m in range(3)]
    for version, names, later in ((1, "rgb skeleton flow", (True, True)), (2, "rgb flow depth", (True, False))):
        with home.entered():
            bundle = load_model(download("litemkd-ucf101-teacher", version))
        assert isinstance(bundle, TeacherBundle)
        with torch.inference_mode():
            fused = bundle.teacher.fuse(dict(zip(names.split(), streams, strict=True)))
            torch.testing.assert_close(fused, published.fuse(*streams, later), rtol=1e-5, atol=1e-5)


def test_a_released_file_becomes_a_model_by_one_call(tmp_path: Path) -> None:
    published = seeded(StudentFile("mobilenet_v3_small"))
    student = load_released(write_file(tmp_path / "student.pt", published))
    assert isinstance(student, Student)
    assert not student.training
    frames, support, labels, query = episode(1)
    with torch.inference_mode():
        features = student.branch_features(student.frame_features(frames))
        here = student.predict(student(features, support[None], labels[None], query[None], 3))[0]
        torch.testing.assert_close(here, published(frames, support, labels, query), rtol=1e-5, atol=0.0)
    path = write_file(tmp_path / "teacher.pt", seeded(TeacherFile()))
    bundle = load_released(str(path), modalities="depth,rgb,flow", shift="published-train")
    assert isinstance(bundle, TeacherBundle)
    assert bundle.teacher.fusion.modalities == ("depth", "rgb", "flow")
    with pytest.raises(CheckpointError, match=r"holds a teacher .* not a student"):
        load_released(path, "student")


@pytest.mark.slow
def test_a_teacher_is_measured_on_features_on_disk(home: Home, tmp_path: Path) -> None:
    path = write_file(tmp_path / "teacher.pt", seeded(TeacherFile()), 50000)
    words = ["import-weights", str(path), "--as", "teacher", "--evaluate", *SETTINGS]
    result = home.run(*words)
    assert result.exit_code == 1
    assert "feature/rgb: no features for " in result.stderr
    (failed,) = home.runs("tags.`litemkd.stage` = 'import-weights' and attributes.status = 'FAILED'")
    assert "no features for" in failed.data.tags["litemkd.error"]
    assert registered(home, "toy", "teacher") == []
    experiment = home.client.get_experiment_by_name("litemkd/toy")
    models = home.client.search_logged_models([experiment.experiment_id], max_results=100)
    assert failed.info.run_id not in {model.source_run_id for model in models}
    for modality in ("rgb", "skeleton", "flow"):
        write_features(home, modality, WIDTH)
    (run,) = home.made_by(lambda: home.must(*words))
    version = home.client.get_model_version_by_alias("litemkd-toy-teacher", "champion")
    assert version.run_id == run.info.run_id
    assert float(version.tags["litemkd.test_accuracy"]) == pytest.approx(
        run.data.metrics["test/accuracy"], abs=1e-4
    )
    assert not (home.data / "feature" / "mm_features").exists()  # nothing of the user's data is written

    # It teaches, with its own modalities, whatever teacher the configuration describes.
    as_imported = ["data.crop=224", "data.short_side=256", "student.train.episodes=2"]
    words = [*SETTINGS, *(word for one in as_imported for word in ("--set", one))]
    address = "models:/litemkd-toy-teacher@champion"
    made = home.made_by(lambda: home.must("distill", "--no-baseline", "--teacher", address, *words))
    assert sorted(run.data.tags["litemkd.stage"] for run in made) == ["distill", "evaluate", "student"]
    (student,) = [run for run in made if run.data.tags["litemkd.stage"] == "student"]
    assert student.data.tags["litemkd.teacher"] == f"litemkd-toy-teacher version {version.version}"
    assert student.data.params["teacher.modalities"] == "['rgb', 'skeleton', 'flow']"
    assert (home.data / "feature" / "mm_features").exists()
    result = home.run("distill", "--teacher", "models:/litemkd-toy-student@champion", *words)
    assert (
        "models:/litemkd-toy-student@champion: holds a student; a registered teacher would do" in result.stderr
    )


def test_a_teachers_head_alone_is_measured_on_features_of_one_modality(home: Home, tmp_path: Path) -> None:
    file = seeded(TeacherFile())
    path = tmp_path / "head.pt"
    torch.save({"iteration": 9, "model_state_dict": file.head()}, path)
    write_features(home, "depth", WIDTH)
    words = ["import-weights", str(path), "--as", "teacher", "--evaluate", "--modalities", "depth", *SETTINGS]
    lines = home.must(*words).stdout.splitlines()
    assert lines[0].startswith(
        f"{path}: teacher's head only, without a fusion, features of {WIDTH}, TRX on tuples"
    )
    assert "modality, not told by the file: depth (--modalities), read from feature/depth" in lines
    assert any(line.startswith("imported teacher, 1-shot: ") for line in lines)
    version = max(registered(home, "toy", "teacher"))
    tags = home.client.get_model_version("litemkd-toy-teacher", str(version)).tags
    assert tags["litemkd.modalities"] == "depth"
    assert "litemkd.shift" not in tags
    with home.entered():
        bundle = load_model(download("litemkd-toy-teacher", version))
    assert isinstance(bundle, TeacherBundle)
    features = torch.randn(2, FRAMES, WIDTH)
    assert torch.equal(bundle.teacher.fuse({"depth": features}), features)
    mistake = "1 mistake in the configuration:\n  - "
    for more, told in (
        (["--shift", "published-train"], "--shift: given, but the file holds a head only, without a fusion"),
        (
            ["--modalities", "rgb,flow"],
            "--modalities: 'rgb,flow' given; one of rgb, flow, depth, skeleton, joints, infrared, "
            "rgb_difference, audio would do: the file",
        ),
    ):
        check_refused(home, [str(path), "--as", "teacher", *more], mistake, told)


def test_the_head_of_clip_fsar_is_measured_on_features_of_its_tower(home: Home, tmp_path: Path) -> None:
    state, path = clip_fsar(), tmp_path / "clip_fsar.pyth"
    torch.save({"epoch": 7, "model_state": state, "optimizer_state": {}}, path)
    write_features(home, "depth", CLIP_WIDTH)
    lines = home.must(
        "import-weights", str(path), "--as", "teacher", "--evaluate", "--modalities", "depth", *SETTINGS
    ).stdout.splitlines()
    assert lines[0] == (
        f"{path}: teacher's head only, without a fusion, features of {CLIP_WIDTH}, CLIP-FSAR, 8 frames, "
        "iteration 7"
    )
    assert "not taken over from the file: optimizer_state" in lines
    assert any(line.startswith("imported teacher, 1-shot: ") for line in lines)
    version = max(registered(home, "toy", "teacher"))
    tags = home.client.get_model_version("litemkd-toy-teacher", str(version)).tags
    assert tags["litemkd.head"] == "clip_fsar"
    assert float(tags["litemkd.gmacs_per_episode"]) > 0
    with home.entered():
        bundle = load_model(download("litemkd-toy-teacher", version))
    assert isinstance(bundle, TeacherBundle)
    features = torch.randn(2, FRAMES, CLIP_WIDTH)
    read = load_released(path)
    assert isinstance(read, TeacherBundle)
    assert torch.equal(bundle.teacher.head.encode(features), read.teacher.head.encode(features))


def test_what_else_is_in_a_file_is_left_out_and_told(home: Home, tmp_path: Path) -> None:
    model = seeded(StudentFile("mobilenet_v3_small"))
    model.classifier.transformers.pe.pe[0, 3, 5] += 0.5
    path = write_file(tmp_path / "more.pt", model, 7, optimizer_state_dict={"state": {}}, scheduler={"last": 3})
    result = home.must("import-weights", str(path), "--as", "student", "--dataset", "more")
    assert "not taken over from the file: optimizer_state_dict, scheduler" in result.stdout
    assert "its position table is up to 0.5 off the sinusoids that are computed here instead" in result.stdout
    home.must("export-weights", "models:/litemkd-more-student/1", str(tmp_path / "back.pt"))
    identical(path, tmp_path / "back.pt")


@pytest.mark.parametrize("kind", ["one branch", "no branch", "trx"])
def test_students_of_fewer_branches(home: Home, tmp_path: Path, kind: str) -> None:
    published = seeded(
        {
            "one branch": lambda: StudentFile("resnet18", ("fc",)),
            "no branch": lambda: StudentFile("resnet18", ()),
            "trx": lambda: TrxFile("resnet18", 512, (2, 3)),
        }[kind]()
    )
    path = write_file(tmp_path / "one.pt", published, 5)
    home.must("import-weights", str(path), "--as", "student", "--dataset", "one")
    version = registered(home, "one", "student")[0]
    with home.entered():
        student = load_model(download("litemkd-one-student", version))
    assert isinstance(student, Student)
    frames, support, labels, query = episode(1)
    with torch.inference_mode():
        features = student.branch_features(student.frame_features(frames))
        here = student.predict(student(features, support[None], labels[None], query[None], 3))[0]
        torch.testing.assert_close(here, published(frames, support, labels, query), rtol=1e-5, atol=0.0)
    home.must("export-weights", f"models:/litemkd-one-student/{version}", str(tmp_path / "back.pt"))
    identical(path, tmp_path / "back.pt")


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.mark,))


def evil_torch(path: Path) -> None:
    torch.save({"iteration": 1, "model_state_dict": {"w": Evil(path.with_suffix(".ran"))}}, path)


def evil_pickle(path: Path, protocol: int = 2) -> None:
    content = {"iteration": 1, "model_state_dict": Evil(path.with_suffix(".ran"))}
    path.write_bytes(pickle.dumps(content, protocol))


def evil_new_pickle(path: Path) -> None:
    evil_pickle(path, 5)


@pytest.mark.parametrize("write", [evil_torch, evil_pickle, evil_new_pickle])
def test_code_in_a_file_is_not_run(home: Home, tmp_path: Path, write: Callable[[Path], None]) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "evil.ran"
    write(path)
    result = home.run("import-weights", str(path), "--as", "student", "--dataset", "evil")
    assert result.exit_code == 1
    assert not mark.exists()
    (said,) = result.stderr.splitlines()
    if write is evil_new_pickle:  # which is not read far enough to see what it asks for
        assert (
            f"{path}: no torch file of tensors and plain values, or a damaged one (Unsupported operand" in said
        )
    else:
        assert said.startswith(f"litemkd import-weights: {path}: asks to run ")
        assert "and code in a file is never run here" in said
    with path.open("rb") as opened:  # it would have been: this is what such a file does to who trusts it
        if write is evil_torch:
            torch.load(path, weights_only=False)
        else:
            pickle.load(opened)
    assert mark.exists()


def changed(**tensors: torch.Tensor | None) -> bytes:
    state = dict(StudentFile("mobilenet_v3_small").state_dict())
    for name, tensor in tensors.items():
        key = name.replace("__", ".")
        if tensor is None:
            del state[key]
        else:
            state[key] = tensor
    return saved({"iteration": 1, "model_state_dict": state})


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "text": (
        lambda: b"<html>not found</html>",
        "no torch file of tensors and plain values, or a damaged one (Unsupported operand 60); ",
    ),
    "empty": (lambda: b"", "or a damaged one (EOFError); the released file, fetched again, would do"),
    "cut off": (lambda: changed()[:-5000], "or a damaged one (PytorchStreamReader failed"),
    "no dict": (lambda: saved([1, 2]), "holds list, not the entries iteration and model_state_dict"),
    "bare state": (
        lambda: saved({"conv1.weight": torch.zeros(1), "a": 1, "b": 2, "c": 3}),
        "holds entries conv1.weight, a, b, …, not the entries iteration and model_state_dict",
    ),
    "no iteration": (
        lambda: saved({"model_state_dict": {"w": torch.zeros(1)}}),
        "its iteration is None; a whole number would do",
    ),
    "no tensors": (
        lambda: saved({"iteration": 1, "model_state_dict": {"backbone.resnet.0.weight": "text"}}),
        "holds 1 entries that are no plain tensors (first: backbone.resnet.0.weight)",
    ),
    "layout": (
        lambda: saved({"iteration": 1, "model_state_dict": {"conv1.weight": torch.zeros(1)}}),
        "1 weights of no known layout (first: conv1.weight)",
    ),
    "missing": (lambda: changed(backbone__fc1__bias=None), "1 missing (first: backbone.fc1.bias)"),
    "extra": (lambda: changed(backbone__fc3__bias=torch.ones(2)), "1 unknown (first: backbone.fc3.bias)"),
    "shape": (
        lambda: changed(backbone__fc1__bias=torch.ones(2)),
        "1 of another form (first: backbone.fc1.bias is float32 (2,), not float32 (24,))",
    ),
    "nan": (
        lambda: changed(backbone__fc1__bias=torch.full((WIDTH,), float("nan"))),
        "1 with NaN or infinity (first: backbone.fc1.bias)",
    ),
    "teacher": (
        lambda: saved({"iteration": 1, "model_state_dict": TeacherFile().state_dict()}),
        "not a student; imported as teacher it would do",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_is_one_message_and_leaves_nothing_behind(home: Home, tmp_path: Path, wrong: str) -> None:
    make, told = WRONG[wrong]
    path = tmp_path / "some file.pt"
    path.write_bytes(make())
    check_refused(home, [str(path), "--as", "student"], f"{path}: ", told)


def check_refused(home: Home, words: list[str], begin: str, told: str) -> None:
    result = home.run("import-weights", *words, "--dataset", "wrong")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    said = result.stderr.removeprefix("litemkd import-weights: ").strip()
    assert said.startswith(begin)
    assert told in said
    assert "\n" not in said.removeprefix("1 mistake in the configuration:\n")
    assert home.client.get_experiment_by_name("litemkd/wrong") is None  # no run, and nothing to hold one
    assert home.client.search_registered_models("name LIKE 'litemkd-wrong%'") == []


def test_wrong_words_are_refused(home: Home, file: Path, tmp_path: Path) -> None:
    teacher = write_file(tmp_path / "teacher.pt", TeacherFile())
    mistake = "1 mistake in the configuration:\n  - "
    for words, begin, told in (
        (
            ["nowhere.pt", "--as", "student"],
            "nowhere.pt: no such file; ",
            "the path of a released file would do",
        ),
        ([str(tmp_path), "--as", "student"], f"{tmp_path}: ", "cannot be read (it is a folder, not a file)"),
        (
            [str(file), "--as", "teacher"],
            f"{file}: holds a student (",
            "not a teacher; imported as student it would",
        ),
        (
            [str(file), "--as", "student", "--shift", "published-train", "--modalities", "rgb,flow,depth"],
            mistake,
            "--modalities and --shift: given, but only a teacher has them",
        ),
        (
            [str(teacher), "--as", "teacher", "--modalities", "rgb,flow"],
            mistake,
            "--modalities: 'rgb,flow' given; three of rgb, flow, depth, skeleton, joints, infrared, "
            "rgb_difference, audio with commas",
        ),
        ([str(teacher), "--as", "teacher", "--modalities", "rgb,rgb,flow"], mistake, "'rgb,rgb,flow' given"),
        (
            [str(teacher), "--as", "teacher", "--modalities", "rgb,sound,flow"],
            mistake,
            "'rgb,sound,flow' given",
        ),
    ):
        check_refused(home, words, begin, told)
    result = home.run("import-weights", str(file), "--as", "student", "--dataset", "no/where")
    assert "data.dataset: 'no/where' given; " in result.stderr


def test_data_that_is_missing_registers_nothing(home: Home, file: Path) -> None:
    result = home.run("import-weights", str(file), "--as", "student", "--dataset", "nodata", "--evaluate")
    assert result.exit_code == 1
    assert "data/nodata: no such folder; put the data set there" in result.stderr
    assert registered(home, "nodata", "student") == []


def own_model(folder: Path, *settings: str) -> Path:
    """A student that was made here, saved."""
    small = ("student.width=24", "student.head.width=20", "student.temporal=none", *settings)
    config = load_config(SMOKE, small)
    student = build_student(config.student, config.data.frames, 0, pretrained=False)
    return save_model(folder, seeded(student), describe_student(config))


def test_a_student_made_here_is_exported(home: Home, tmp_path: Path) -> None:
    backbone = "student.backbone={name: mobilenet_v3_small, weights: none, normalise: %s, pooling: mean}"
    folder, path = own_model(tmp_path / "mine", backbone % "imagenet"), tmp_path / "mine.pt"
    result = home.must("export-weights", str(folder), str(path))
    assert result.stdout.splitlines()[0] == f"{path}: {folder} in the released format, 253 tensors, iteration 0"
    assert "the student normalises frames itself (imagenet); the published code does not" in result.stdout
    published = StudentFile("mobilenet_v3_small")
    published.load_state_dict(state_of(path))  # every name and shape, as in the published layout
    folder = own_model(tmp_path / "plain", backbone % "none")
    result = home.must("export-weights", str(folder), str(tmp_path / "plain.pt"))
    assert len(result.stdout.splitlines()) == 1
    published.load_state_dict(state_of(tmp_path / "plain.pt"))
    student = load_model(folder)
    assert isinstance(student, Student)
    frames, support, labels, query = episode(1)
    with torch.inference_mode():
        features = student.branch_features(student.frame_features(frames))
        here = student.predict(student(features, support[None], labels[None], query[None], 3))[0]
        torch.testing.assert_close(here, published.eval()(frames, support, labels, query), rtol=1e-5, atol=0.0)


def test_what_cannot_be_exported(home: Home, tmp_path: Path, file: Path) -> None:
    def refused(model: str | Path, told: str) -> None:
        path = tmp_path / "out.pt"
        result = home.run("export-weights", str(model), str(path))
        assert result.exit_code == 1
        assert result.stderr.startswith("litemkd export-weights: ")
        assert told in result.stderr
        assert not path.exists()

    with home.entered():
        imported = download("litemkd-ucf101-student", 1)
    broken = tmp_path / "broken"
    shutil.copytree(imported, broken)
    (broken / "released.safetensors").unlink()
    refused(broken, f"{broken}: holds no released.safetensors; a folder of a saved model would do")
    described = json.loads((broken / "model.json").read_text())
    del described["released"]["heads"]
    (broken / "model.json").write_text(json.dumps(described))
    refused(broken, f"{broken}: its description of the released file is damaged (KeyError('heads'))")
    refused(tmp_path / "nowhere", "holds no model.json; a folder of a saved model would do")
    refused(
        "models:/litemkd-ucf101-teacher/1", "models:/litemkd-ucf101-teacher/1: holds a teacher; a student would"
    )
    refused("models:/litemkd-ucf101-student/99", "99")
    for head in ("strm", "otam"):
        other = own_model(tmp_path / head, f"student.head.name={head}")
        refused(other, f"{other}: has the head {head}; released files hold TRX, such a student would do")
    conv4 = "student.backbone={name: conv4, weights: none, pooling: mean}"
    refused(own_model(tmp_path / "conv4", conv4), "conv4 has no released form; a student of resnet18, ")
    refused(
        own_model(tmp_path / "flat"), "keeps 16 places of the last map; released files have no place for that"
    )
    moving = own_model(tmp_path / "moving", "student.temporal=difference", conv4)
    refused(
        moving, "sees motion (student.temporal=difference); released files have no place for that, a student "
    )
    before = file.read_bytes()
    result = home.run("export-weights", "models:/litemkd-ucf101-student/1", str(file))
    assert f"{file}: is there already; another name would do" in result.stderr
    assert file.read_bytes() == before


def test_an_export_that_fails_leaves_no_file(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def half(content: object, path: Path) -> None:
        save(content, path)
        path.write_bytes(path.read_bytes()[:1000])
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", half)
    result = home.run("export-weights", "models:/litemkd-ucf101-student/1", str(tmp_path / "out.pt"))
    assert isinstance(result.exception, OSError)
    assert list(tmp_path.iterdir()) == []


def test_the_commands_of_the_documentation(tmp_path: Path) -> None:
    here = Home(tmp_path)
    write_file(tmp_path / "student.pt", seeded(StudentFile("mobilenet_v3_small")))
    write_file(tmp_path / "teacher.pt", seeded(TeacherFile()))
    text = (ROOT / "docs" / "released.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line) for line in block.splitlines() if line]
    assert [words[1] for words in commands] == ["import-weights", "import-weights", "export-weights"]
    for _, command, *words in commands:
        here.must(command, *words)
    identical(tmp_path / "student.pt", tmp_path / "again.pt")


def test_no_run_is_left_open(home: Home) -> None:
    for dataset in ("toy", "ucf101", "back", "more"):
        assert not home.runs("attributes.status = 'RUNNING'", dataset)
