"""Many episodes by tables: the same predictions and figures, and logits that differ by rounding."""

import numpy as np
import pytest
import torch
from torch import nn

from litemkd.data.episodes import Episodes, EpisodeSampler
from litemkd.evaluation import look_up
from litemkd.evaluation.accuracy import evaluate
from litemkd.evaluation.look_up import Held, LookUp, Tables
from litemkd.models.heads import TRX
from tests.helpers import split_of

SPLIT = split_of([9, 7, 8, 12, 6, 10], "test")
VIDEOS, FRAMES, CHANNELS, WAY, SHOT = len(SPLIT.videos), 5, 12, 4, 3
SAMPLER = EpisodeSampler(SPLIT, way=WAY, shot=SHOT, queries=2, seed=3)


def forms(tuples=(2,), width=40, dim=16, seed=0):
    """Two branches with one TRX behind them, as a student has them."""
    torch.manual_seed(seed)
    head = TRX(dim, width=width, frames=FRAMES, tuples=tuples).eval()
    nn.init.normal_(head.sizes[0].norm_k.weight, 1, 0.2)
    nn.init.normal_(head.sizes[0].norm_k.bias, 0, 0.2)
    with torch.no_grad():
        return [head.folded(nn.Linear(CHANNELS, dim)) for _ in range(2)]


def features(seed=1):
    """What a backbone gives: positive, and far from nought."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.rand(len(SPLIT.classes), FRAMES, CHANNELS, generator=generator)
    x = means[torch.from_numpy(SPLIT.labels.copy())] + torch.randn(
        VIDEOS, FRAMES, CHANNELS, generator=generator
    )
    return x.relu() + 3


def classifier(branches, x, in_memory=1 << 30):
    def encode(videos):
        with torch.inference_mode():
            return {str(n): branch.encode(x[torch.from_numpy(videos)]) for n, branch in enumerate(branches)}

    def match(support, labels, query, way):
        parts = [branch.match(support[str(n)], labels, query[str(n)], way) for n, branch in enumerate(branches)]
        return torch.stack(parts).sum(0)

    tables = Tables(branches, lambda: x, torch.from_numpy(SPLIT.labels.copy()))
    return LookUp(encode, match, Held(VIDEOS, in_memory, torch.device("cpu")), tables)


@pytest.mark.parametrize("tuples", [(1,), (2,), (3,), (2, 3)])
def test_logits_differ_by_rounding_alone(tuples):
    exact = classifier(forms(tuples), features())
    episodes = SAMPLER[range(40)]
    support, _ = look_up.by_class(episodes.support, episodes.support_labels)
    with torch.inference_mode():
        found = exact.tables.logits(
            torch.from_numpy(support).unflatten(1, (WAY, SHOT)), torch.from_numpy(episodes.query)
        )
        expected = exact(episodes)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)


def test_every_figure_is_the_same_and_few_episodes_are_matched_twice(monkeypatch):
    exact = classifier(forms(), features())
    many = exact.for_many(10_000, WAY, SHOT, WAY * 2)
    assert many is not exact
    plain = evaluate(lambda episodes: exact(episodes), SAMPLER, range(600))
    looked_at = []
    call = LookUp.__call__
    monkeypatch.setattr(LookUp, "__call__", lambda self, one: looked_at.append(len(one)) or call(self, one))
    monkeypatch.setattr(LookUp, "for_many", lambda self, *_: many)
    quick = evaluate(exact, SAMPLER, range(600))
    np.testing.assert_array_equal(quick.accuracies, plain.accuracies)
    np.testing.assert_array_equal(quick.confusion, plain.confusion)
    np.testing.assert_allclose(quick.logits, plain.logits, rtol=3e-6, atol=3e-6)
    assert looked_at[0] == 64  # the first ones, to see how far the two are apart
    assert sum(looked_at[1:]) < 60


def test_where_there_is_doubt_episodes_are_matched_as_before(monkeypatch):
    exact = classifier(forms(), features())
    many = exact.for_many(10_000, WAY, SHOT, WAY * 2)
    monkeypatch.setattr(look_up, "SURE", 1e9)
    with torch.inference_mode():
        for numbers in (range(20), range(20, 50)):
            assert torch.equal(many(SAMPLER[numbers]), exact(SAMPLER[numbers]))


def test_classes_of_unequal_shots_are_matched_as_before():
    exact = classifier(forms(), features())
    many = exact.for_many(10_000, WAY, SHOT, WAY * 2)
    one = SAMPLER[range(1)]
    labels = one.support_labels.copy()
    labels[labels == 0] = [0, 0, 1]
    uneven = Episodes(one.number, one.classes, one.support, labels, one.query, one.query_labels)
    with torch.inference_mode():
        assert torch.equal(many(uneven), exact(uneven))


@pytest.mark.parametrize(
    ("episodes", "width", "in_memory"), [(10, 40, 1 << 30), (10_000, 8, 1 << 30), (10_000, 40, 1000)]
)
def test_tables_are_made_where_they_pay_and_fit(episodes, width, in_memory):
    exact = classifier(forms(width=width), features(), in_memory)
    assert exact.for_many(episodes, WAY, SHOT, WAY * 2) is exact
