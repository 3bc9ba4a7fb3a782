"""Prototypes of whole sequences against a plain loop, and what order means to them."""

import pytest
import torch

from litemkd.models.heads.sequence import Sequence
from tests.models.heads.slow import LABELS, WAY, episodes


@pytest.mark.parametrize("frames", [8, 1])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_parity_with_the_formula(labels, frames):
    support, marks, query = episodes(labels, frames, 5)
    found = Sequence(5, frames=frames, scale=3.0)(support, marks, query, WAY)
    for b in range(len(support)):
        means = [
            torch.stack([x.flatten() for x, y in zip(support[b], marks[b], strict=True) if y == c]).mean(0)
            for c in range(WAY)
        ]
        centre = sum(means) / WAY
        for q, one in enumerate(query[b]):
            for c, mean in enumerate(means):
                x, y = one.flatten() - centre, mean - centre
                wanted = 3.0 * x @ y / x.norm() / y.norm()
                torch.testing.assert_close(found[b, q, c], wanted, rtol=1e-9, atol=1e-9)


def test_what_all_clips_share_makes_no_difference_and_order_does():
    support, marks, query = episodes(LABELS["unequal shots"], 8, 5)
    head = Sequence(5)
    plain = head(support, marks, query, WAY)
    moved = head(support + 7, marks, query + 7, WAY)
    torch.testing.assert_close(moved, plain)
    assert not torch.allclose(head(support, marks, query.flip(2), WAY), plain)
    assert not list(head.parameters())
