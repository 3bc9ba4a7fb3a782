"""Evaluation from what is kept equals encoding each episode's clips anew through the plain student."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from litemkd.data.episodes import EpisodeSampler
from litemkd.data.packs.clips import ClipSource
from litemkd.evaluation import look_up
from litemkd.evaluation.accuracy import evaluate
from litemkd.evaluation.embedding import student_classifier, teacher_classifier
from litemkd.models.backbones import Backbone
from litemkd.models.heads import HEADS, TRX
from litemkd.models.student import Student
from litemkd.models.teacher import Fusion, Teacher
from litemkd.storage.array_cache import ArrayCache
from tests.helpers import MemoryPack, split_of

CPU = torch.device("cpu")
FRAMES, DIM, WAY = 4, 20, 3
SPLIT = split_of([6, 7, 6, 5], "test")
SETTINGS = {"trx": {"width": 6, "tuples": (2, 3)}, "strm": {"width": 6}}


class ColouredPack(MemoryPack):
    """Clips in memory: a class has colours of its own, and noise."""

    digest = "of these clips"

    def __init__(self, split):
        rng = np.random.default_rng(0)
        plain = rng.integers(0, 256, (len(split.classes), FRAMES, 4, 4, 3))[split.labels]
        noise = rng.integers(-90, 90, (len(split.videos), FRAMES, 4, 4, 3))
        coarse = (plain + noise).clip(0, 255).astype(np.uint8)
        super().__init__(split.videos, coarse.repeat(16, 2).repeat(16, 3))


PACK = ColouredPack(SPLIT)
CLIPS = ClipSource(PACK, SPLIT, crop=64, device=CPU)
SAMPLER = EpisodeSampler(SPLIT, way=WAY, shot=2, queries=2, seed=0)


def student_of(head="trx", seed=0):
    torch.manual_seed(seed)
    head = HEADS[head](DIM, frames=FRAMES, **SETTINGS.get(head, {}))
    backbone = Backbone("conv4", normalise="centred", pooling="places" if head.places > 1 else "mean")
    student = Student(backbone, head, width=DIM, dropout=0.5)
    for part in student.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.1, 0.5)
    return student.eval()


def plain(student):
    """The published way: nothing kept, nothing folded, one episode after another."""

    def classify(episodes):
        found = []
        for one in episodes.parts(1):
            videos, support, query = one.compact()
            features = student.branch_features(student.frame_features(CLIPS.centred(videos)))
            rows = (torch.from_numpy(x) for x in (support, one.support_labels, query))
            found.append(student.predict(student(features, *rows, WAY)))
        return torch.cat(found)

    return classify


@pytest.mark.parametrize("kept", ["in memory", "on disk", "features only"])
@pytest.mark.parametrize("head", HEADS)
def test_every_logit_is_that_of_the_plain_way(head, kept, tmp_path, monkeypatch):
    student = student_of(head)
    monkeypatch.setattr(look_up, "MATCHED_AT_ONCE", 3000)  # several parts a batch
    cache = None if kept == "in memory" else ArrayCache(tmp_path)
    classify = student_classifier(
        student, CLIPS, cache=cache, in_memory=0 if kept == "features only" else 1 << 30
    )
    episodes = SAMPLER[range(9)]
    with torch.inference_mode():
        expected, found = plain(student)(episodes), classify(episodes)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-5)  # a cosine is scaled by 10
    one, other = (evaluate(each, SAMPLER, range(30)) for each in (plain(student), classify))
    np.testing.assert_array_equal(one.accuracies, other.accuracies)
    np.testing.assert_array_equal(one.confusion, other.confusion)


def test_features_on_disk_are_used_again(tmp_path, monkeypatch):
    student, cache = student_of(), ArrayCache(tmp_path)
    first = student_classifier(student, CLIPS, cache=cache)(SAMPLER[range(3)])
    monkeypatch.setattr(CLIPS, "centred", None)  # no clip is looked at
    again = student_classifier(copy.deepcopy(student), CLIPS, cache=cache)(SAMPLER[range(3)])
    assert torch.equal(first, again)


def test_whatever_changes_features_has_features_of_its_own(tmp_path):
    cache = ArrayCache(tmp_path)
    other_pack, other_split = copy.copy(PACK), split_of([6, 7, 5], "test")
    other_pack.digest = "of others"
    norm = student_of()
    norm.backbone.features[0][1].running_mean += 0.1
    coloured = student_of()
    coloured.backbone.mean += 0.1
    flat = Backbone("conv4", normalise="centred", pooling="average")
    flat.load_state_dict(student_of().backbone.state_dict())
    averaged = student_of()
    averaged.backbone = flat.eval()
    settings = [
        (student_of(), CLIPS),
        (student_of(seed=1), CLIPS),
        (norm, CLIPS),
        (coloured, CLIPS),
        (averaged, CLIPS),
        (student_of(), ClipSource(PACK, SPLIT, crop=48, device=CPU)),
        (student_of(), ClipSource(other_pack, SPLIT, crop=64, device=CPU)),
        (student_of(), ClipSource(PACK, other_split, crop=64, device=CPU)),
    ]
    for place, (student, clips) in enumerate(settings):
        student_classifier(student, clips, cache=cache)
        assert len(list(tmp_path.glob("test-*.npy"))) == place + 1
    changed = student_of()  # what comes after the backbone needs no other features
    nn.init.zeros_(changed.branches["label"].weight)
    student_classifier(changed, CLIPS, cache=cache)
    assert len(list(tmp_path.glob("test-*.npy"))) == len(settings)


def test_a_teacher_is_evaluated_by_its_folded_head():
    torch.manual_seed(0)
    head = TRX(DIM, width=6, frames=FRAMES, tuples=(2, 3))
    teacher = Teacher(Fusion(("rgb",), DIM, frames=FRAMES, layers=1, feed_forward=8), head).eval()
    fused = torch.randn(len(SPLIT.videos), FRAMES, DIM)
    episodes = SAMPLER[range(5)]
    support, labels, query = (
        torch.from_numpy(x) for x in (episodes.support, episodes.support_labels, episodes.query)
    )
    with torch.inference_mode():
        expected = head(fused[support], labels, fused[query], WAY)
        torch.testing.assert_close(teacher_classifier(teacher, fused)(episodes), expected, rtol=1e-5, atol=1e-5)
