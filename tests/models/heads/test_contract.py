"""What every head must do, run on each one by its name in `HEADS` and in each of its forms."""

import pytest
import torch

from litemkd.cost.counting import count, meta, without_data
from litemkd.errors import EpisodeError
from litemkd.models.heads import HEADS, Head

FRAMES, DIM, WAY = 4, 12, 3
LABELS = torch.tensor([[2, 0, 1, 0, 2, 1], [1, 1, 0, 2, 0, 1]])  # shuffled; the second has unequal shots

# The forms of each head, smaller than their defaults for speed; one not here is built from (dim, frames=…).
FORMS = {
    "trx": [{"width": 10, "tuples": (2, 3)}],
    "strm": [
        {"width": 10, "places": 4},
        {"width": 10, "places": 1, "tuples": (2, 3)},
    ],
    "otam": [{}, {"smoothing": 0.01}],
    "bimhm": [{"support": "mean"}, {"support": "each"}, {"support": "each", "eps": 0.01}],
    "prototype": [{"distance": "euclidean"}, {"distance": "cosine"}],
    "hyrsm": [{"support": "mean", "attention_heads": 2}, {"support": "each", "attention_heads": 3}],
    "clip_fsar": [{"attention_heads": 2}, {"attention_heads": 3, "feed_forward": 20}],
    "molo": [{"attention_heads": 2}],
    "team": [{"patterns": 5}],
}
CASES = [(name, arguments) for name in sorted(HEADS) for arguments in FORMS.get(name, [{}])]

# A single patch has no other to attend to: its attention is 1 whatever these say.
IDLE = {"patches.query.weight", "patches.key.weight"}


@pytest.fixture(params=CASES, ids=lambda case: "-".join([case[0], *map(str, case[1].values())]))
def case(request) -> tuple[str, dict]:
    return request.param


@pytest.fixture
def head(case) -> Head:
    name, arguments = case
    torch.manual_seed(0)
    head = HEADS[name](DIM, frames=FRAMES, **arguments).double().eval()
    for weight, value in head.named_parameters():
        if weight.endswith("gamma"):  # 0 at first, when what it weighs has no part in the logits
            torch.nn.init.constant_(value, 0.7)
    return head


@pytest.fixture
def episode(case):
    """Supports, labels, queries; features have an axis of patches where the head looks at several a frame."""
    places = case[1].get("places", 1)
    code = (FRAMES, DIM) if places == 1 else (FRAMES, places, DIM)
    generator = torch.Generator().manual_seed(1)

    def draw(videos: int) -> torch.Tensor:
        return torch.randn(2, videos, *code, dtype=torch.float64, generator=generator)

    return draw(6), LABELS, draw(5)


def assert_same(one, other):
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_shape_and_finiteness(head, episode):
    logits = head(*episode, WAY)
    assert logits.shape == (2, 5, WAY)
    assert torch.isfinite(logits).all()
    assert logits.std() > 1e-6  # it looks at what it is given


def test_parts_with_their_weights_make_up_the_logits(head, episode):
    support, labels, query = episode
    found = head.match_parts(head.encode(support), labels, head.encode(query), WAY)
    assert set(found) == set(head.parts)
    assert head.parts["frame"] == 1  # the one that all heads have
    assert all(logits.shape == (2, 5, WAY) for logits in found.values())
    total = sum(weight * found[name] for name, weight in head.parts.items())
    assert_same(total, head(*episode, WAY))


def test_parts_for_the_loss_alone_are_there_in_training(head, episode):
    support, labels, query = episode
    head.train()
    parts = head.match_parts(head.encode(support), labels, head.encode(query), WAY)
    assert set(parts) == set(head.loss_parts) == {*head.parts, *head.training_parts}
    assert all(logits.shape == (2, 5, WAY) and torch.isfinite(logits).all() for logits in parts.values())
    assert not set(head.parts) & set(head.training_parts)
    torch.testing.assert_close(head.predict(parts), sum(w * parts[name] for name, w in head.parts.items()))


def test_work_is_counted_without_data(case, head):
    """A head's first step runs on shapes alone, and all of its layers are seen by both counters."""
    places = case[1].get("places", 1)
    features = meta(1, FRAMES, DIM) if places == 1 else meta(1, FRAMES, places, DIM)
    code, work = count(without_data(head.float()), features, method="encode")
    assert code.shape == head.encode(torch.zeros(features.shape)).shape
    assert (work.macs > 0) == (work.flops > 0) == any(True for _ in head.parameters())


def test_a_batch_of_parts_equals_one_by_one(head, episode):
    support, labels, query = episode
    support, query = head.encode(support), head.encode(query)
    found = head.match_parts(support, labels, query, WAY)
    for i in range(2):
        alone = head.match_parts(support[i : i + 1], labels[i : i + 1], query[i : i + 1], WAY)
        for name in found:
            assert_same(alone[name][0], found[name][i])


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


def test_gradients_reach_the_features_and_all_weights(case, head, episode):
    support, labels, query = episode
    places = case[1].get("places")
    support.requires_grad_()
    query.requires_grad_()
    torch.nn.functional.cross_entropy(
        head(support, labels, query, WAY).flatten(0, 1), torch.arange(10) % 3
    ).backward()
    for grad in (support.grad, query.grad):
        assert torch.isfinite(grad).all()
        assert (grad.abs().flatten(2).amax(2) > 1e-12).all()  # of every video
    for name, weight in head.named_parameters():
        assert weight.grad is not None, name
        if weight.ndim > 1 and not (places == 1 and name in IDLE):  # a bias may cancel out of a distance
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


def test_a_saved_head_is_the_same_head(case, head, episode):
    name, arguments = case
    torch.manual_seed(1)
    other = HEADS[name](DIM, frames=FRAMES, **arguments).double().eval()
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(*episode, WAY), head(*episode, WAY))


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


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.int16])
def test_labels_may_be_whole_numbers_of_any_type(head, episode, kind):
    support, labels, query = episode
    assert torch.equal(head(support, labels.to(kind), query, WAY), head(*episode, WAY))
    codes = head.encode(support), labels.to(kind), head.encode(query)
    assert torch.equal(head.relate(*codes, WAY), head.relate(codes[0], labels, codes[2], WAY))


WRONG = {
    "float labels": (
        lambda s, y, q: (s, y.float(), q, WAY),
        "support labels: torch.float32 given; whole numbers would do, for instance torch.int64",
    ),
    "labels of truth": (lambda s, y, q: (s, y > 0, q, WAY), "support labels: torch.bool given; whole numbers"),
    "a list of labels": (
        lambda s, y, q: (s, y.tolist(), q, WAY),
        "support labels: list given; a tensor (B, S) would do",
    ),
    "labels of one episode": (
        lambda s, y, q: (s, y[0], q, WAY),
        "support labels: shape (6,) given; (B, S) would do; labels[None] for one episode",
    ),
    "too few labels": (
        lambda s, y, q: (s, y[:, :4], q, WAY),
        r"support labels: shape (2, 4) given for supports (2, 6, ",
    ),
    "labels of other episodes": (lambda s, y, q: (s, y[:1], q, WAY), "supports: shape (2, 6, "),
    "queries of other episodes": (lambda s, y, q: (s, y, q[:1], WAY), "queries: shape (1, 5, "),
    "no batch of episodes": (
        lambda s, y, q: (s[0], y[0], q[0], WAY),
        "would do; features[None] for one episode",
    ),
    "whole features": (
        lambda s, y, q: (s.long(), y, q, WAY),
        "features: torch.int64 given; floating-point numbers would do",
    ),
    "half a way": (
        lambda s, y, q: (s, y, q, 2.5),
        "way: 2.5 given; the number of classes, 1 or more, would do",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_has_another_form_is_refused_in_words(head, episode, wrong):
    change, told = WRONG[wrong]
    with pytest.raises(EpisodeError) as refused:
        head(*change(*episode))
    assert told in str(refused.value)


def test_features_of_another_width_or_number_of_frames_are_refused(head, episode):
    support, labels, query = episode
    for s, q in ((support[..., :-1], query[..., :-1]), (support[:, :, 1:], query[:, :, 1:])):
        if head.wants is None:  # it has no weights: any will do
            assert head(s, labels, q, WAY).shape == (2, 5, WAY)
            continue
        with pytest.raises(
            EpisodeError, match=r"^features: shape \(2, 6, .*\) given; \(B, V, 4, (4, )?12\) would do$"
        ):
            head(s, labels, q, WAY)
    with pytest.raises(
        EpisodeError, match=r"queries: shape \(2, 5, .*\) given, supports \(2, 6, .*the same axes"
    ):
        head.match(head.encode(support), labels, head.encode(query)[..., :-1], WAY)


def test_no_supports_at_all_are_refused(head, episode):
    support, labels, query = episode
    with pytest.raises(EpisodeError, match="support labels must lie in"):
        head(support[:, :0], labels[:, :0], query, WAY)
