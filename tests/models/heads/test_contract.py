"""What every head must do, run on each one by its name in `HEADS`."""

import pytest
import torch

from litemkd.errors import EpisodeError
from litemkd.models.heads import HEADS, Head

FRAMES, DIM, WAY = 4, 12, 3
LABELS = torch.tensor([[2, 0, 1, 0, 2, 1], [1, 1, 0, 2, 0, 1]])  # shuffled; the second has unequal shots

# Smaller than their defaults, for speed; a head that is not here is built from (dim, frames=…).
ARGUMENTS = {"trx": {"width": 10, "tuple_sizes": (2, 3)}}


@pytest.fixture(params=sorted(HEADS))
def head(request) -> Head:
    torch.manual_seed(0)
    return HEADS[request.param](DIM, frames=FRAMES, **ARGUMENTS.get(request.param, {})).double().eval()


@pytest.fixture
def episode():
    generator = torch.Generator().manual_seed(1)

    def draw(videos: int) -> torch.Tensor:
        return torch.randn(2, videos, FRAMES, DIM, dtype=torch.float64, generator=generator)

    return draw(6), LABELS, draw(5)


def assert_same(one, other):
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_shape_and_finiteness(head, episode):
    logits = head(*episode, WAY)
    assert logits.shape == (2, 5, WAY)
    assert torch.isfinite(logits).all()
    assert logits.std() > 1e-6  # it looks at what it is given


def test_naming_the_classes_otherwise_permutes_the_columns(head, episode):
    support, labels, query = episode
    renamed = torch.tensor([1, 2, 0])
    assert_same(head(support, renamed[labels], query, WAY)[..., renamed], head(*episode, WAY))


def test_order_of_supports_does_not_matter(head, episode):
    support, labels, query = episode
    order = torch.tensor([3, 5, 0, 4, 2, 1])
    assert_same(head(support[:, order], labels[:, order], query, WAY), head(*episode, WAY))


def test_order_of_queries_permutes_the_rows(head, episode):
    support, labels, query = episode
    order = torch.tensor([3, 0, 4, 2, 1])
    assert_same(head(support, labels, query[:, order], WAY), head(*episode, WAY)[:, order])


def test_a_batch_of_episodes_equals_one_by_one(head, episode):
    support, labels, query = episode
    alone = [head(support[i : i + 1], labels[i : i + 1], query[i : i + 1], WAY) for i in range(2)]
    assert_same(torch.cat(alone), head(*episode, WAY))


def test_a_query_does_not_see_the_others(head, episode):
    support, labels, query = episode
    assert_same(head(support, labels, query[:, 2:3], WAY), head(*episode, WAY)[:, 2:3])


def test_encoding_once_equals_encoding_within(head, episode):
    support, labels, query = episode
    code = head.encode(torch.cat([support, query], 1).flatten(0, 1)).unflatten(0, (2, 11))
    assert_same(head.match(code[:, :6], labels, code[:, 6:], WAY), head(*episode, WAY))


def test_gradients_reach_the_features_and_all_weights(head, episode):
    support, labels, query = episode
    support.requires_grad_()
    query.requires_grad_()
    torch.nn.functional.cross_entropy(
        head(support, labels, query, WAY).flatten(0, 1), torch.arange(10) % 3
    ).backward()
    for grad in (support.grad, query.grad):
        assert torch.isfinite(grad).all()
        assert (grad.abs().amax((2, 3)) > 1e-12).all()  # of every video
    for name, weight in head.named_parameters():
        assert weight.grad is not None, name
        if weight.ndim > 1:  # a bias may cancel out of a distance
            assert weight.grad.abs().max() > 1e-9, name


def test_the_class_that_holds_the_query_wins(head, episode):
    support, labels, _ = episode
    logits = head(support * 3, labels, support * 3, WAY)
    assert torch.equal(logits.argmax(-1)[0], labels[0])


def test_evaluation_is_repeatable_and_leaves_the_inputs_alone(head, episode):
    before = [part.clone() for part in episode]
    assert torch.equal(head(*episode, WAY), head(*episode, WAY))
    assert all(torch.equal(part, old) for part, old in zip(episode, before, strict=True))


def test_one_support_of_each_class(head, episode):
    support, _, query = episode
    assert head(support[:, :3], torch.tensor([[1, 2, 0], [0, 1, 2]]), query, WAY).shape == (2, 5, WAY)


def test_single_precision_agrees(head, episode):
    support, labels, query = episode
    exact = head(*episode, WAY)
    single = head.float()(support.float(), labels, query.float(), WAY)
    torch.testing.assert_close(single, exact.float(), rtol=1e-4, atol=1e-4)


def test_a_class_without_support_is_refused(head, episode):
    support, labels, query = episode
    labels = torch.where(labels == 2, 1, labels)
    labels[0, 0] = 2  # only the second episode lacks the class
    with pytest.raises(EpisodeError, match="class 2 of episode 1 in the batch has no support video"):
        head(support, labels, query, WAY)


@pytest.mark.parametrize("bad", [3, -1])
def test_a_label_out_of_range_is_refused(head, episode, bad):
    support, labels, query = episode
    labels = labels.clone()
    labels[1, 4] = bad
    with pytest.raises(EpisodeError, match=r"support labels must lie in 0 … 2 for 3-way episodes"):
        head(support, labels, query, WAY)


def test_no_supports_at_all_are_refused(head, episode):
    support, labels, query = episode
    with pytest.raises(EpisodeError, match="support labels must lie in"):
        head(support[:, :0], labels[:, :0], query, WAY)
