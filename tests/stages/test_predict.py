"""`litemkd predict` says of a data set's clips what evaluation says of them; and users' mistakes."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from litemkd.data.episodes import Episodes
from litemkd.data.packs.clips import ClipSource
from litemkd.data.packs.pack import FramePack
from litemkd.data.splits import make_split
from litemkd.data.toy import toy_classes
from litemkd.evaluation.calibration import read_calibration
from litemkd.evaluation.embedding import student_classifier
from litemkd.evaluation.unknown import NONE
from litemkd.stages.loading import load_student, model_folder_of
from tests.job import Home, Job

CHAMPION = "models:/litemkd-toy-student@champion"
SHOTS = (2, 1, 3)  # of the classes: unequally many


@pytest.fixture(scope="module")
def home(job: Job) -> Home:
    return job.home


def clips_of(home: Home) -> dict[str, list[str]]:
    """Names of the clips of three test classes."""
    videos = home.data / "videos"
    return {
        one: sorted(path.stem for path in (videos / one).iterdir()) for one in sorted(toy_classes("test"))[:3]
    }


@pytest.fixture(scope="module")
def folders(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`examples` and `clips`, class folders of videos; `flat` holds the same clips, `pictures` their frames."""
    root = tmp_path_factory.mktemp("predict")
    for shots, (one, clips) in zip(SHOTS, clips_of(home).items(), strict=True):
        for place, clip in enumerate(clips):
            kind = "examples" if place < shots else "clips"
            target = home.data / "videos" / one / f"{clip}.mp4"
            frames = home.data / "rgb_l8" / one / clip
            for link, to in (
                (root / kind / one / target.name, target),
                (root / "flat" / target.name, target if kind == "clips" else None),
                (root / "pictures" / kind / one / clip, frames),
            ):
                if to is not None:
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(to)
    return root


def table(path: Path) -> tuple[list[dict[str, str]], np.ndarray]:
    """The rows of a CSV, and the probabilities in them (Q, W)."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0])[3:]
    return rows, np.array([[float(row[name]) for name in names] for row in rows])


def test_it_says_what_evaluation_says(home: Home, folders: Path) -> None:
    out = folders / "new" / "table.csv"
    words = ("--support", str(folders / "examples"), "--query", str(folders / "clips"), "--out", str(out))
    words += ("--force-choice",)
    results: list[Result] = []
    assert home.made_by(lambda: results.append(home.must("predict", *words))) == []
    rows, found = table(out)
    names = clips_of(home)
    asked = [
        (one, clip) for shots, (one, clips) in zip(SHOTS, names.items(), strict=True) for clip in clips[shots:]
    ]
    assert [row["query"] for row in rows] == [f"{one}/{clip}.mp4" for one, clip in asked]
    assert [row["folder"] for row in rows] == [one for one, _ in asked]
    assert list(rows[0]) == ["query", "folder", "predicted", *names]

    # The same episode, by the packs and the classifier of an evaluation.
    with home.entered():
        model_folder = model_folder_of(CHAMPION)
        student, described = load_student(CHAMPION)
    (folder,) = (home.data / "packs").glob("rgb_*")
    pack, listed = FramePack(folder), [f"{one}/{clip}" for one, clips in names.items() for clip in clips]
    source = ClipSource(pack, make_split("test", listed), crop=described["crop"], device=torch.device("cpu"))
    places = {video: row for row, video in enumerate(listed)}
    supports = [
        (label, f"{one}/{clip}") for label, one in enumerate(names) for clip in names[one][: SHOTS[label]]
    ]
    episode = Episodes(
        number=np.zeros(1, np.int64),
        classes=np.arange(3)[None],
        support=np.array([[places[video] for _, video in supports]]),
        support_labels=np.array([[label for label, _ in supports]]),
        query=np.array([[places[f"{one}/{clip}"] for one, clip in asked]]),
        query_labels=np.array([[list(names).index(one) for one, _ in asked]]),
    )
    with torch.inference_mode():
        logits = student_classifier(student, source)(episode)[0]
    calibration = read_calibration(model_folder)
    assert calibration is not None
    warmth = calibration.nearest(3, 2).temperature
    np.testing.assert_allclose(found, (logits / warmth).softmax(-1).numpy(), atol=2e-6)
    assert [row["predicted"] for row in rows] == [list(names)[place] for place in logits.argmax(-1)]

    right = int((logits.argmax(-1).numpy() == episode.query_labels[0]).sum())
    said = results[0].stdout.splitlines()
    share = f"accuracy: {100 * right / len(asked):.1f} %, {right} of {len(asked)} queries, by the class folders"
    assert any(line.startswith(share) for line in said)
    assert said[-1] == f"{len(asked)} queries named by {CHAMPION}: 3 classes, 1 to 3 supports each"


def test_pictures_and_folders_without_classes(home: Home, folders: Path) -> None:
    """Frames that were made of the videos give the same numbers; clips in no class folder do, too."""
    found = []
    for support, query in (
        ("examples", "clips"),
        ("examples", "flat"),
        ("pictures/examples", "pictures/clips"),
    ):
        out = folders / "table.csv"
        words = ("--support", str(folders / support), "--query", str(folders / query), "--out", str(out))
        result = home.must("predict", "--model", CHAMPION, *words)
        assert ("accuracy" in result.stdout) is (query != "flat")
        rows, numbers = table(out)
        found.append({Path(row["query"]).stem: values for row, values in zip(rows, numbers, strict=True)})
        assert {row["folder"] == "" for row in rows} == {query == "flat"}
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, values in other.items():
            np.testing.assert_allclose(values, found[0][name], atol=2e-6)


def test_one_clip_and_what_the_user_should_know(home: Home, folders: Path) -> None:
    (clip,) = sorted((folders / "flat").iterdir())[:1]
    words = ("--support", str(folders / "examples"), "--query")
    result = home.must("predict", *words, str(clip))
    assert result.stdout.splitlines()[-1].startswith(
        "1 query named by models:/litemkd-toy-student@champion: 3 "
    )
    again = home.must("predict", *words, str(folders / "examples"))
    assert "note: 6 queries are supports too, which makes them easy" in again.stderr


@pytest.fixture
def refused(home: Home, folders: Path) -> Callable[..., str]:
    def run(**changed: object) -> str:
        given = {"support": folders / "examples", "query": folders / "clips", **changed}
        words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        result = home.run("predict", *words)
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit)
        return result.stderr.partition("litemkd predict: ")[2].strip()

    return run


def test_folders_that_do_not_hold_what_they_should(
    refused: Callable[..., str], folders: Path, tmp_path: Path
) -> None:
    assert refused(support=tmp_path / "no").startswith(f"{tmp_path / 'no'}: no such folder")
    assert refused(support=folders / "flat").startswith(f"{folders / 'flat'} holds clips (")
    assert "and no folders of them; one folder of clips for each class would do" in refused(
        support=folders / "flat"
    )
    (tmp_path / "a").mkdir()
    assert refused(query=tmp_path).startswith(
        f"the class folder {tmp_path / 'a'} holds no clips; a clip is a video ("
    )
    one = next((folders / "examples").iterdir())
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / one.name).symlink_to(one)
    assert "has one class folder" in refused(support=tmp_path / "one")
    (tmp_path / "one" / "loose.mp4").write_bytes(b"")
    assert "holds class folders and clips beside them (loose.mp4)" in refused(query=tmp_path / "one")
    (tmp_path / "b" / "c" / "d").mkdir(parents=True)
    assert "holds no pictures, so it is no clip" in refused(query=tmp_path / "b")


def test_clips_that_cannot_be_read_are_all_named(
    refused: Callable[..., str], folders: Path, tmp_path: Path
) -> None:
    good = next((folders / "flat").iterdir())
    (tmp_path / "good.mp4").symlink_to(good)
    (tmp_path / "broken.mp4").write_bytes(good.read_bytes()[:300])
    (tmp_path / "text.avi").write_text("not a video")
    (tmp_path / "short").mkdir()
    frame = next((folders / "pictures" / "clips").glob("*/*/*.jpg"))
    (tmp_path / "short" / "1.jpg").write_bytes(frame.read_bytes())
    said = refused(query=tmp_path)
    assert "3 of 10 clips cannot be read:" in said
    assert f"cannot read video {tmp_path / 'broken.mp4'}" in said
    assert f"cannot read video {tmp_path / 'text.avi'}" in said
    assert f"{tmp_path / 'short'} has 1 pictures; 8 are needed" in said


def test_models_and_places_that_do_not_fit(refused: Callable[..., str], home: Home, tmp_path: Path) -> None:
    assert "holds a teacher; a student would do" in refused(model="models:/litemkd-toy-teacher@champion")
    assert "there is no such version" in refused(model="models:/litemkd-toy-student/999")
    assert "which version" in refused(model="models:/litemkd-toy-student")
    assert "holds no model.json" in refused(model=tmp_path)
    assert "cannot be written" in refused(out="/proc/no/table.csv")
    if not torch.cuda.is_available():
        assert "shows no CUDA device" in refused(device="cuda")
    (tmp_path / "empty").mkdir()
    bare = Home(tmp_path / "empty")
    result = bare.run("predict", "--support", str(home.data / "videos"), "--query", str(home.data / "videos"))
    assert "there is no store" in result.stderr
    assert not (tmp_path / "empty" / "mlflow.db").exists()


def test_clips_of_any_name_and_what_is_passed_over(home: Home, folders: Path, tmp_path: Path) -> None:
    """A class in circled digits, one in decomposed letters, a recording with the ending of a camera's."""
    examples = sorted((folders / "examples").iterdir())
    names = ("②", "cafe\u0301", "10")
    for name, one in zip(names, examples, strict=True):
        (tmp_path / "support" / name).mkdir(parents=True)
        for clip in one.iterdir():
            (tmp_path / "support" / name / clip.with_suffix(".M4V").name).symlink_to(clip.resolve())
    (tmp_path / "support" / "②" / "notes.txt").touch()
    (tmp_path / "support" / ".DS_Store").touch()
    query = tmp_path / "one.MTS"
    query.symlink_to(next((folders / "flat").iterdir()).resolve())
    result = home.must("predict", "--support", str(tmp_path / "support"), "--query", str(query))
    assert result.stdout.splitlines()[0].split() == ["query", "predicted", "10", "caf\u00e9", "②"]
    assert result.stdout.splitlines()[-1].startswith(f"1 query named by {CHAMPION}: 3 classes")
    assert result.stderr.splitlines()[-1] == (
        f"note: passed over in {tmp_path / 'support'}, neither a video nor a folder of pictures: 1: ②/notes.txt"
    )


def test_a_model_without_a_temperature_loads_as_before_and_says_so(
    home: Home, folders: Path, tmp_path: Path
) -> None:
    with home.entered():
        shutil.copytree(model_folder_of(CHAMPION), tmp_path / "model")
    words = ("--support", str(folders / "examples"), "--query", str(folders / "clips"))
    assert "calibrated" not in home.must("predict", *words).stderr  # one was learned for 3-way 2-shot
    (tmp_path / "model" / "calibration.json").unlink()
    result = home.must("predict", "--model", str(tmp_path / "model"), *words)
    assert "keeps no temperature" in result.stderr


def test_none_of_these_is_said_below_the_threshold(home: Home, folders: Path, tmp_path: Path) -> None:
    with home.entered():
        shutil.copytree(model_folder_of(CHAMPION), tmp_path / "model")
    file, out = tmp_path / "model" / "calibration.json", tmp_path / "table.csv"
    words = ("--support", str(folders / "examples"), "--query", str(folders / "clips"), "--out", str(out))
    words = ("--model", str(tmp_path / "model"), *words)
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert all((one["threshold"] is None) is (one["way"] >= 19) for one in kept["temperatures"])
    for threshold, refused in ((-1e9, False), (1e9, True)):
        changed = [{**one, "threshold": threshold} for one in kept["temperatures"]]
        file.write_text(json.dumps({**kept, "temperatures": changed}), encoding="utf-8")
        home.must("predict", *words)
        rows, _ = table(out)
        assert {row["predicted"] == NONE for row in rows} == {refused}
    home.must("predict", *words, "--force-choice")
    assert NONE not in {row["predicted"] for row in table(out)[0]}


def test_an_evaluation_measures_the_open_set(home: Home, folders: Path) -> None:
    (run,) = home.made_by(lambda: home.must("evaluate", "--open-set"))
    metrics = run.data.metrics
    for name in ("auroc", "fpr95", "known_kept", "unknown_refused"):
        assert 0 <= metrics[f"test/{name}_1shot"] <= 100
    result = home.must("evaluate", "--unknown", str(folders / "flat"))
    assert "open set, 5-way 5-shot, 100 test episodes: AUROC" in result.stdout
    assert "calibration error" in result.stdout
