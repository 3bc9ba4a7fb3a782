"""Grouping supports by class, against loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litemkd.errors import EpisodeError
from litemkd.models.heads.base import class_prototypes, group_by_class, support_counts, take_supports


@st.composite
def labelled(draw):
    """(B, S) labels in any order with at least one support of each of `way` classes."""
    way = draw(st.integers(1, 5))
    extra = draw(st.integers(0, 5))
    rows = [
        draw(
            st.permutations(
                [*range(way), *draw(st.lists(st.integers(0, way - 1), min_size=extra, max_size=extra))]
            )
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    return torch.tensor(rows), way


@settings(max_examples=40, deadline=None)
@given(labelled())
def test_groups_hold_exactly_the_supports_of_each_class(drawn):
    labels, way = drawn
    index, present = group_by_class(labels, way)
    counts = support_counts(labels, way)
    assert index.shape == present.shape == (*counts.shape, int(counts.max()))
    for b in range(len(labels)):
        for c in range(way):
            members = (labels[b] == c).nonzero().flatten().tolist()
            assert counts[b, c] == len(members)
            assert index[b, c][present[b, c]].tolist() == members
            assert set(index[b, c].tolist()) == set(members)  # padding repeats a support of the same class


@settings(max_examples=25, deadline=None)
@given(labelled())
def test_prototypes_and_taken_supports_against_a_loop(drawn):
    labels, way = drawn
    torch.manual_seed(0)
    features = torch.randn(*labels.shape, 4, 3, dtype=torch.float64)
    prototypes = class_prototypes(features, labels, way)
    taken = take_supports(features, group_by_class(labels, way)[0])
    assert prototypes.shape == (len(labels), way, 4, 3)
    for b in range(len(labels)):
        for c in range(way):
            members = [features[b, s] for s in range(labels.shape[1]) if labels[b, s] == c]
            torch.testing.assert_close(prototypes[b, c], sum(members) / len(members), rtol=0, atol=1e-12)
            for k, member in enumerate(members):
                assert torch.equal(taken[b, c, k], member)


def test_refusals_have_words():
    with pytest.raises(EpisodeError, match="class 1 of episode 0 in the batch has no support"):
        group_by_class(torch.tensor([[0, 2, 0]]), 3)
    with pytest.raises(EpisodeError, match=r"must lie in 0 … 1 for 2-way episodes, got \[\[0, 2, 1\]\]"):
        class_prototypes(torch.zeros(1, 3, 2, 2), torch.tensor([[0, 2, 1]]), 2)
