"""A teacher that hears the names of supports."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litemkd.data.episodes import EpisodeSampler
from litemkd.evaluation.embedding import teacher_classifier
from litemkd.models.heads import FRAME, HEADS
from litemkd.models.names import NAMES, Names
from litemkd.models.teacher import NoFusion, Teacher
from litemkd.training.objectives import Advisor
from tests.helpers import split_of

D, T = 16, 4
HEARD = Names(10.0, 0.5)
SPLIT = split_of([4, 4, 4])
EPISODES = EpisodeSampler(SPLIT, way=3, shot=2, queries=1, seed=0)[[0, 1, 2]]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


FUSED, TEXT = numbers(len(SPLIT.videos), T, D), numbers(3, D, seed=1)[torch.tensor(SPLIT.labels)]


def teacher_of(name: str, names: Names | None = HEARD) -> Teacher:
    torch.manual_seed(0)
    settings = {} if name in ("prototype", "bimhm") else {"frames": T}
    return Teacher(NoFusion("rgb", D), HEADS[name](D, **settings), names).eval()


@pytest.mark.parametrize("name", ["clip_fsar", "trx", "prototype", "bimhm"])
def test_logits_are_those_of_head_and_of_similarity(name: str) -> None:
    teacher = teacher_of(name)
    with torch.inference_mode():
        found = teacher_classifier(teacher, FUSED, TEXT)(EPISODES)
    for episode in range(len(EPISODES)):
        support, query = FUSED[EPISODES.support[episode]], FUSED[EPISODES.query[episode]]
        labels = torch.from_numpy(EPISODES.support_labels[episode])
        code = teacher.head.encode(support)
        if name == "clip_fsar":
            text = TEXT[EPISODES.support[episode]]
            code = teacher.head.layer(torch.cat([support, text[:, None]], 1))[:, :-1]
        seen = teacher.head.match(code[None], labels[None], teacher.head.encode(query)[None], 3)[0]
        classes = [TEXT[SPLIT.labels == c][0] for c in EPISODES.classes[episode]]
        heard = [[torch.cosine_similarity(q.mean(0), one, dim=0) for one in classes] for q in query]
        torch.testing.assert_close(found[episode], seen + 5.0 * torch.tensor(heard), rtol=1e-4, atol=1e-4)


def test_names_of_queries_are_not_looked_at() -> None:
    """Each query's own name is another one here, and nothing changes; a support's is, and something does."""
    teacher = teacher_of("clip_fsar")
    episode = EpisodeSampler(SPLIT, way=3, shot=2, queries=1, seed=0)[[0]]
    told = {}
    for name, rows in (("as they are", []), ("queries", episode.query[0]), ("supports", episode.support[0])):
        text = TEXT.clone()
        text[np.array(rows, int)] += 1.0
        with torch.inference_mode():
            told[name] = teacher_classifier(teacher, FUSED, text)(episode)
    assert torch.equal(told["queries"], told["as they are"])
    assert (told["supports"] - told["as they are"]).abs().max() > 1e-2


def test_training_and_advice_agree_with_evaluation() -> None:
    teacher = teacher_of("clip_fsar")
    rows = (torch.from_numpy(x) for x in (EPISODES.support, EPISODES.support_labels, EPISODES.query))
    parts = teacher(FUSED, *rows, 3, TEXT)
    assert set(parts) == {FRAME, NAMES} == set(teacher.loss_parts)
    assert teacher.loss_parts[NAMES] == 0.5
    with torch.inference_mode():
        expected = teacher_classifier(teacher, FUSED, TEXT)(EPISODES)
    torch.testing.assert_close(teacher.predict(parts), expected, rtol=1e-5, atol=1e-5)
    needs = ("teacher_logits", "teacher_relation")
    told = Advisor(teacher, FUSED, needs, TEXT)(EPISODES, np.arange(len(FUSED)))
    torch.testing.assert_close(told["teacher_logits"], expected, rtol=1e-5, atol=1e-5)
    deaf = Advisor(teacher_of("clip_fsar", None), FUSED, needs)(EPISODES, np.arange(len(FUSED)))
    assert (told["teacher_relation"] - deaf["teacher_relation"]).abs().max() > 1e-3


def test_a_teacher_that_hears_needs_names_and_another_takes_none() -> None:
    for names, text in ((Names(1.0, 1.0), None), (None, TEXT)):
        with pytest.raises(ValueError, match="for a teacher that hears names, which needs them"):
            teacher_of("clip_fsar", names).encode(FUSED, text)
    with pytest.raises(ValueError, match="hears names"):
        teacher_classifier(teacher_of("clip_fsar"), FUSED)(EPISODES)
