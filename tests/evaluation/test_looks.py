"""What is seen of a student: its most mistaken clips, episodes to look at, covered frames, maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litemkd.config import BackboneConfig, HeadConfig, StudentConfig
from litemkd.data.episodes import EpisodeSampler
from litemkd.data.packs.clips import ClipSource
from litemkd.evaluation import looks
from litemkd.evaluation.accuracy import Evaluation, evaluate
from litemkd.evaluation.embedding import student_classifier
from litemkd.evaluation.looks import Mistaken, flat_map, look_at, mistaken, spread_out, telling
from litemkd.models.student import Student
from litemkd.stages.build import build_student
from tests.helpers import MemoryPack, split_of

SPLIT = split_of([6, 6, 6], "test")
SAMPLER = EpisodeSampler(SPLIT, way=3, shot=2, queries=1, seed=0)


def answered(count: int, wrong: dict[int, int]) -> Evaluation:
    """A model that is right but for some rows of the split, which it takes for another class always."""
    episodes = SAMPLER[range(count)]
    logits = np.zeros((count, 3, 3), np.float32)
    for number, query in np.ndindex(count, 3):
        row, label = int(episodes.query[number, query]), int(episodes.query_labels[number, query])
        if row in wrong:
            label = int(np.flatnonzero(episodes.classes[number] == wrong[row])[0])
        logits[number, query, label] = 1
    return Evaluation(2, np.zeros(count), np.zeros((3, 3)), SPLIT.classes, 1.0, logits, episodes.query_labels)


def test_the_clips_that_are_mistaken_most_with_what_for() -> None:
    first, second = np.flatnonzero(SPLIT.labels == 0)[0], np.flatnonzero(SPLIT.labels == 2)[3]
    seen = answered(400, {int(first): 2, int(second): 1})
    asked = np.bincount(SAMPLER[range(400)].query.ravel(), minlength=18)
    found = mistaken(seen, SAMPLER, 5)
    expected = [
        Mistaken(int(row), int(asked[row]), int(asked[row]), SPLIT.classes[instead])
        for row, instead in ((first, 2), (second, 1))
    ]
    assert sorted(found, key=lambda one: one.video) == sorted(expected, key=lambda one: one.video)
    assert found[0].wrong >= found[1].wrong
    assert mistaken(seen, SAMPLER, 1) == found[:1]
    assert mistaken(answered(50, {}), SAMPLER, 5) == []


def test_an_episode_that_went_well_and_one_that_did_not() -> None:
    seen = answered(30, {row: (SPLIT.labels[row] + 1) % 3 for row in range(18)})
    assert telling(seen) == [(0, 0)]  # all are wrong
    some = answered(200, {int(np.flatnonzero(SPLIT.labels == 1)[0]): 0})
    (right, wrong) = telling(some)
    said = some.logits.argmax(-1) == some.labels
    assert right == (0, int(said[0].argmax()))
    assert not said[wrong]
    assert said[: wrong[0]].all()


@pytest.fixture(scope="module")
def student() -> Student:
    config = StudentConfig(
        backbone=BackboneConfig(name="conv4", weights="none", pooling="flatten"),
        width=16,
        head=HeadConfig(name="trx", width=16),
    )
    return build_student(config, 4, seed=0).eval()


@pytest.fixture(scope="module")
def clips() -> ClipSource:
    frames = np.random.default_rng(0).integers(0, 256, (18, 4, 32, 32, 3), np.uint8)
    pack = MemoryPack(SPLIT.videos, frames)
    return ClipSource(pack, SPLIT, crop=32, device=torch.device("cpu"))  # type: ignore[arg-type]


def test_a_look_shows_the_logits_of_the_evaluation(student: Student, clips: ClipSource) -> None:
    seen = evaluate(student_classifier(student, clips), SAMPLER, range(3))
    look = look_at(student, clips, SAMPLER, 2, query=1)
    np.testing.assert_allclose(look.logits, seen.logits[2, 1], rtol=1e-4, atol=1e-4)
    assert look.label == seen.labels[2, 1]
    assert look.right == (seen.logits[2, 1].argmax() == seen.labels[2, 1])
    assert look.classes[look.label] == SPLIT.videos[look.query].partition("/")[0]
    assert look.meets is not None
    for place in range(3):  # all attention of a frame goes to the frames of a class's supports
        np.testing.assert_allclose(look.meets[look.labels == place].sum((0, 2)), 1, rtol=1e-4)


def test_a_frame_is_worth_what_the_lead_loses_without_it(student: Student, clips: ClipSource) -> None:
    """As the whole student says of a clip whose frame is covered by hand."""
    look = look_at(student, clips, SAMPLER, 0)
    frames = clips.centred(np.array([*look.support, look.query]))
    supports, labels = torch.arange(6)[None], torch.from_numpy(look.labels)[None]

    def lead(shown: torch.Tensor) -> float:
        with torch.inference_mode():
            features = student.branch_features(student.frame_features(shown))
            logits = student.predict(student(features, supports, labels, torch.tensor([[6]]), 3))[0, 0]
        others = torch.cat([logits[: look.label], logits[look.label + 1 :]])
        return float(logits[look.label] - others.max())

    for t in range(4):
        covered = frames.clone()
        covered[-1, t] = frames[-1].mean((0, 2, 3))[:, None, None]
        assert look.worth[t] == pytest.approx(lead(frames) - lead(covered), abs=2e-3)


def test_a_map_keeps_groups_apart_and_is_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    centres = 20 * rng.standard_normal((3, 1, 1, 8))
    features = (centres + rng.standard_normal((3, 15, 4, 8))).reshape(45, 4, 8).astype(np.float32)
    places = flat_map(features)
    assert places.shape == (45, 2)
    groups = places.reshape(3, 15, 2)
    middles = groups.mean(1)
    apart = np.linalg.norm(middles[:, None] - middles[None], axis=-1)[np.triu_indices(3, 1)].min()
    assert apart > 3 * np.linalg.norm(groups - middles[:, None], axis=-1).max()
    assert flat_map(features.copy()) is places
    looks._MAPS.clear()
    np.testing.assert_array_equal(flat_map(features), places)


def test_so_many_maps_are_kept_that_were_asked_for_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "KEPT", 2)
    monkeypatch.setattr(looks, "_MAPS", {})
    teacher, *students = (np.full((2, 1, 3), number, np.float32) for number in range(4))
    first = flat_map(teacher)
    for student in students:
        flat_map(student)
        assert flat_map(teacher) is first  # of which every report shows the map
    assert len(looks._MAPS) == 2


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_clips_have_a_map_too(count: int) -> None:
    found = flat_map(np.random.default_rng(0).standard_normal((count, 2, 3)).astype(np.float32))
    assert found.shape == (count, 2)
    assert np.isfinite(found).all()


def test_of_many_clips_some_are_mapped() -> None:
    assert spread_out(4).tolist() == [0, 1, 2, 3]
    some = spread_out(100_000, 500)
    assert (len(some), some[0], some[-1]) == (500, 0, 99_999)
