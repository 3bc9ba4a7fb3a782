"""Heads match a table of supports as they match supports with labels, for every head and unequal shots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from litemkd.export.checking import compare_logits, table_of
from litemkd.models.heads import HEADS
from litemkd.models.heads.base import in_a_table
from tests.models.heads.test_contract import CASES, DIM, FRAMES, LABELS, WAY


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join([case[0], *map(str, case[1].values())]))
def test_a_table_of_supports_gives_the_logits_of_labels(case: tuple[str, dict]) -> None:
    name, arguments = case
    torch.manual_seed(0)
    head = HEADS[name](DIM, frames=FRAMES, **arguments).eval()
    places = arguments.get("places", 16 if name == "strm" else 1)
    shape = (FRAMES, DIM) if places == 1 else (FRAMES, places, DIM)
    form = head.folded(nn.Identity())
    with torch.inference_mode():
        support, query = (form.encode(torch.randn(2, videos, *shape)) for videos in (6, 5))
        wanted = form.match(support, LABELS, query, WAY)
        rows, present = map(torch.from_numpy, table_of(LABELS.numpy(), WAY))
        assert not present.all()  # the second episode has unequal shots
        batch = torch.arange(2)[:, None]
        held = tuple(x[batch, rows.flatten(1)] for x in support)
        with in_a_table(present):
            found = form._match(held, torch.zeros(2, rows[0].numel(), dtype=torch.long), query, WAY)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)


def test_a_table_has_each_class_in_its_row_and_its_first_support_where_others_have_more() -> None:
    rows, present = table_of(np.array([[1, 0, 1, 2, 1]]), 3)
    assert rows.tolist() == [[[1, 1, 1], [0, 2, 4], [3, 3, 3]]]
    assert present.tolist() == [[[True, False, False], [True, True, True], [True, False, False]]]


def test_logits_that_differ_are_refused_with_the_numbers() -> None:
    from litemkd.errors import ExportError

    wanted = np.array([[3.0, 1.0], [0.0, 2.0]])
    near = compare_logits([wanted], [wanted + 5e-5])
    near.refuse("one")
    assert (near.same, near.logits) == (1.0, 4)
    apart = compare_logits([wanted], [wanted + np.array([[0, 0], [0.01, 0]])])
    with pytest.raises(
        ExportError, match=r"differ from PyTorch's by 1.00e-02, the largest of 4.*1.0e-04 would do"
    ):
        apart.refuse("one")
    with pytest.raises(ExportError, match="nan"):
        compare_logits([wanted], [wanted * np.nan]).refuse("one")
    large = compare_logits([1000 * wanted], [1000 * wanted + 1e-3])  # seven digits of 3000
    large.refuse("one")
