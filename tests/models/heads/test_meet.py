"""Which frames of a query are matched with which of the supports: attention of TRX, the path of OTAM."""

from __future__ import annotations

import itertools

import pytest
import torch

from litemkd.models.heads import HEADS
from litemkd.models.heads.otam import OTAM
from litemkd.models.heads.trx import TRX
from litemkd.models.layers import frame_tuples

T, D, WAY = 5, 6, 3
LABELS = torch.tensor([[2, 0, 1, 2, 0]])  # unequal shots, in no order


def codes(head: torch.nn.Module, count: int, seed: int) -> torch.Tensor:
    features = torch.randn(1, count, T, D, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return head.encode(features)


@pytest.mark.parametrize("tuples", [(2,), (2, 3)])
def test_trx_shows_the_attention_of_its_tuples(tuples: tuple[int, ...]) -> None:
    """Counted tuple by tuple, from projections of whole tuples as published."""
    torch.manual_seed(0)
    head = TRX(D, width=8, frames=T, tuples=tuples).eval()
    support, query = (torch.randn(1, count, T, D) for count in (5, 2))
    with torch.no_grad():
        found = head.meet(head.encode(support), LABELS, head.encode(query), WAY)
        assert found is not None
        expected = torch.zeros(1, 2, 5, T, T)
        for size in head.sizes:
            places = [*itertools.combinations(range(T), size.size)]
            assert places == [tuple(one) for one in frame_tuples(T, size.size).tolist()]

            def keys(x: torch.Tensor, size=size, places=places) -> torch.Tensor:  # (V, P, width)
                whole = torch.stack([size.pe(x)[0][:, list(one)].flatten(1) for one in places], 1)
                return size.norm_k(torch.nn.functional.linear(whole, size.k_linear.weight, size.k_linear.bias))

            scores = torch.einsum("qpd,srd->qpsr", keys(query), keys(support)) / 8**0.5
            for q, way in itertools.product(range(2), range(WAY)):
                members = (LABELS[0] == way).nonzero().flatten()
                share = scores[q][:, members].flatten(1).softmax(-1).unflatten(-1, (len(members), -1))
                for (p, own), (k, s), (r, held) in itertools.product(
                    enumerate(places), enumerate(members.tolist()), enumerate(places)
                ):
                    for i, j in itertools.product(own, held):
                        standing = sum(i in one for one in places)
                        expected[0, q, s, i, j] += share[p, k, r] / (standing * size.size * len(head.sizes))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    by_class = torch.stack([found[:, :, LABELS[0] == way].sum((2, 4)) for way in range(WAY)])
    torch.testing.assert_close(by_class, torch.ones_like(by_class))


def test_otam_shows_the_path_it_takes() -> None:
    """With a hard minimum it is the cheapest path of all, found by trying each."""
    head = OTAM(D, smoothing=1e-4).eval()
    support, query = (codes(head, count, seed) for count, seed in ((5, 1), (2, 2)))
    with torch.inference_mode():
        found = head.meet(support, LABELS, query, WAY)
    assert found is not None
    unit = torch.nn.functional.normalize
    for q, s in itertools.product(range(2), range(5)):
        table = 1 - unit(query[0, q], dim=-1) @ unit(support[0, s], dim=-1).mT
        expected = (_path(table) + _path(table.T).T) / 2
        torch.testing.assert_close(found[0, q, s], expected, atol=0.02, rtol=0)


def _path(table: torch.Tensor) -> torch.Tensor:
    """Cells of the cheapest path, by trying every one: right, diagonally, and down in the outer columns."""
    rows, columns = table.shape
    padded = torch.nn.functional.pad(table, (1, 1))
    best = (float("inf"), [(0, 0)])

    def go(row: int, column: int, cost: float, path: list[tuple[int, int]]) -> None:
        nonlocal best
        cost, path = cost + float(padded[row, column]), [*path, (row, column)]
        if (row, column) == (rows - 1, columns + 1):
            best = min(best, (cost, path))
            return
        if column < columns + 1:
            go(row, column + 1, cost, path)
            if row < rows - 1:
                go(row + 1, column + 1, cost, path)
        if row < rows - 1 and column in (0, columns + 1):
            go(row + 1, column, cost, path)

    go(0, 0, 0.0, [])
    taken = torch.zeros(rows, columns + 2)
    for cell in best[1]:
        taken[cell] = 1
    return taken[:, 1:-1]


@pytest.mark.parametrize("name", HEADS)
def test_every_head_shows_shares_or_nothing(name: str) -> None:
    torch.manual_seed(0)
    head = HEADS[name](16, frames=4).eval()
    features = torch.randn(1, 7, 4, *[head.places] * (head.places > 1), 16)
    held, asked = head.encode(features[:, :5]).detach(), head.encode(features[:, 5:]).detach()
    with torch.inference_mode():
        found = head.meet(held, LABELS, asked, WAY)
    if name in ("trx", "otam"):
        assert found is not None
    if found is not None:
        assert found.shape == (1, 2, 5, 4, 4)
        assert bool((found >= 0).all())
        turned = head.meet(held.flip(1), LABELS.flip(1), asked, WAY)
        torch.testing.assert_close(found, turned.flip(2))
