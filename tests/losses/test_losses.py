"""The terms of D2M against their published formulas, written out in NumPy in double precision."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litemkd.losses import D2M
from litemkd.losses.measures import (
    cross_entropy,
    distillation,
    pearson_distance,
    standardise,
    support_distances,
    unexplained,
)
from litemkd.losses.terms.kd import TeacherLogits
from litemkd.losses.terms.support import SupportDistances
from tests.lessons import Knowledge, d2m_loss

B, Q, W = 2, 7, 5


# The formulas, row by row.


def log_softmax(row):
    row = np.asarray(row, np.float64)
    top = row.max()
    return row - top - math.log(sum(math.exp(value - top) for value in row))


def ce(logits, labels):
    return np.mean([-log_softmax(row)[label] for row, label in zip(logits, labels, strict=True)])


def kl(student, teacher, temperature):
    total = []
    for s, t in zip(student, teacher, strict=True):
        s, t = log_softmax(s / temperature), log_softmax(t / temperature)
        total.append(sum(math.exp(a) * (a - b) for a, b in zip(t, s, strict=True)))
    return temperature**2 * np.mean(total)


def pearson(student, teacher):
    total = []
    for s, t in zip(student, teacher, strict=True):
        a, b = np.exp(log_softmax(s)), np.exp(log_softmax(t))
        a, b = a - a.mean(), b - b.mean()
        total.append(a @ b / (math.sqrt(a @ a) * math.sqrt(b @ b) + 1e-8))
    return 1 - np.mean(total)


def prototype_distances(features, labels, way):
    """One episode: (S, T, D), (S,) -> (W, W - 1)."""
    frames = features.shape[1]
    prototypes = [
        np.mean([x for x, label in zip(features, labels, strict=True) if label == c], 0) for c in range(way)
    ]
    return np.array(
        [
            [-((prototypes[c] - prototypes[o]) ** 2).sum() / frames for o in range(way) if o != c]
            for c in range(way)
        ]
    )


def rows(tensor):
    return tensor.detach().numpy().reshape(-1, tensor.shape[-1])


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return 3 * torch.randn(*shape, dtype=torch.float64, generator=generator)

    return {
        "label": draw(B, Q, W),
        "distill": draw(B, Q, W),
        "teacher": draw(B, Q, W),
        "targets": torch.randint(0, W, (B, Q), generator=generator),
        "support": draw(B, W, W - 1),
        "teacher_support": draw(B, W, W - 1),
        "features": draw(6, 4, 3),
    }


def frame_logits(batch, *branches):
    """Logits of branches by part, as a head with one part gives them."""
    return {branch: {"frame": batch[branch]} for branch in branches or ("label", "distill")}


def loss_of(spec, batch):
    return d2m_loss(
        spec,
        frame_logits(batch),
        batch["targets"],
        support={"label": batch["support"]},
        knowledge=Knowledge(batch["teacher"], batch["teacher_support"], batch["features"]),
    )


def near(value, expected):
    assert float(value.detach()) == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_cross_entropy(batch):
    near(cross_entropy(batch["label"], batch["targets"]), ce(rows(batch["label"]), batch["targets"].flatten()))


@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.5])
def test_distillation(batch, temperature):
    found = distillation(batch["distill"], batch["teacher"], temperature)
    near(found, kl(rows(batch["distill"]), rows(batch["teacher"]), temperature))


def test_pearson_distance(batch):
    found = pearson_distance(batch["support"], batch["teacher_support"])
    near(found, pearson(rows(batch["support"]), rows(batch["teacher_support"])))


def test_defaults_are_the_published_loss(batch):
    """fc_2_sup_dist: KL_T(s['kl'], t['kl']) + 0.5 P(s['sup'], t['sup']) + CE(s['ce']) / 16, T = 4."""
    terms = loss_of(D2M.of(), batch)
    soft = kl(rows(batch["distill"]), rows(batch["teacher"]), 4)
    likeness = pearson(rows(batch["support"]), rows(batch["teacher_support"]))
    hard = ce(rows(batch["label"]), batch["targets"].flatten())
    near(terms.values["kd"], soft)
    near(terms.values["support"], likeness)
    near(terms.values["ce"], hard)
    near(terms.loss, soft + 0.5 * likeness + hard / 16)


def test_other_weights_make_other_published_losses(batch):
    """fc_2_sup_dist_cece adds CE of the distill branch; any weights and temperature will do."""
    hard, also = (ce(rows(batch[name]), batch["targets"].flatten()) for name in ("label", "distill"))
    likeness = pearson(rows(batch["support"]), rows(batch["teacher_support"]))
    near(
        loss_of(D2M.of(ce_distill=1 / 16), batch).loss,
        kl(rows(batch["distill"]), rows(batch["teacher"]), 4) + also / 16 + 0.5 * likeness + hard / 16,
    )
    near(
        loss_of(D2M.of(ce=0.3, ce_distill=0.7, kd=0.2, support=1.5, temperature=2.0), batch).loss,
        0.3 * hard + 0.7 * also + 0.2 * kl(rows(batch["distill"]), rows(batch["teacher"]), 2) + 1.5 * likeness,
    )


def test_standardised_forms(batch):
    def z(tensor):
        return np.array([(row - row.mean()) / (row.std() + 1e-8) for row in rows(tensor)])

    terms = loss_of(D2M.of(standardise_logits=True, support_form="tempered", support_temperature=0.5), batch)
    near(terms.values["kd"], kl(z(batch["distill"]), z(batch["teacher"]), 4))
    near(terms.values["support"], pearson(z(batch["support"]) / 0.5, z(batch["teacher_support"]) / 0.5))


def test_terms_of_weight_zero_are_absent(batch):
    terms = loss_of(D2M.of(kd=0, support=0, ce=1), batch)
    assert not {"kd", "support"} & set(terms.values)
    near(terms.loss, ce(rows(batch["label"]), batch["targets"].flatten()))
    assert set(terms.metrics) == {"train/loss", "train/loss_ce"}


def test_without_a_teacher_only_labels_count(batch):
    terms = d2m_loss(D2M.of(ce=1, ce_distill=1), frame_logits(batch), batch["targets"])
    both = [ce(rows(batch[name]), batch["targets"].flatten()) for name in ("label", "distill")]
    near(terms.loss, sum(both))
    single = d2m_loss(D2M.of(ce=1, ce_distill=1), frame_logits(batch, "label"), batch["targets"])
    near(single.loss, both[0])


def test_metrics_are_the_unweighted_terms(batch):
    terms = loss_of(D2M.of(), batch)
    metrics = terms.metrics
    assert set(metrics) == {"train/loss", "train/loss_ce", "train/loss_kd", "train/loss_support"}
    assert metrics["train/loss"] == pytest.approx(
        metrics["train/loss_kd"] + 0.5 * metrics["train/loss_support"] + metrics["train/loss_ce"] / 16
    )


# The feature term.


def test_a_constant_guess_explains_nothing_and_the_truth_all():
    torch.manual_seed(0)
    plain = 5 * torch.randn(40, 8, 6, dtype=torch.float64) + 3
    spread, middle = torch.std_mean(plain, dim=(0, 1), correction=0)
    goal = (plain - middle) / spread
    near(unexplained(torch.zeros_like(goal), goal), 1.0)  # the mean of every number, whatever is seen
    near(unexplained(goal, goal), 0.0)
    near(unexplained(0.5 * goal, goal), 0.25)


def test_the_feature_term_is_the_mean_square_error_with_its_weight(batch):
    guess = torch.randn(6, 4, 3, dtype=torch.float64, requires_grad=True)
    knowledge = Knowledge(batch["teacher"], batch["teacher_support"], batch["features"].requires_grad_())
    logits = frame_logits(batch)
    spec = D2M.of(kd=0, support=0, ce=0.5, feature=3.0)
    terms = d2m_loss(spec, logits, batch["targets"], knowledge=knowledge, projected=guess)
    error = np.mean((guess.detach().numpy() - batch["features"].detach().numpy()) ** 2)
    near(terms.values["feature"], error)
    near(terms.loss, 0.5 * ce(rows(batch["label"]), batch["targets"].flatten()) + 3.0 * error)
    assert terms.metrics["train/loss_feature"] == pytest.approx(error)
    terms.loss.backward()
    assert guess.grad.abs().max() > 0
    assert batch["features"].grad is None  # the teacher's
    # Without a weight, or without a guess, there is no such term.
    for without, projected in ((D2M.of(), guess), (spec, None)):
        found = d2m_loss(without, logits, batch["targets"], knowledge=knowledge, projected=projected)
        assert "feature" not in found.values


# Gradients.


@pytest.mark.parametrize("form", ["published", "tempered"])
@pytest.mark.parametrize("standardised", [False, True])
def test_gradients_are_those_of_the_values(batch, form, standardised):
    spec = D2M.of(support_form=form, standardise_logits=standardised, ce_distill=0.3)
    batch = {name: x[:1, :2] for name, x in batch.items() if name != "features"} | {
        "features": batch["features"]
    }  # two rows are enough, and quick
    inputs = tuple(batch[name].clone().requires_grad_() for name in ("label", "distill", "support"))

    def loss(label, distill, support):
        return loss_of(spec, batch | {"label": label, "distill": distill, "support": support}).loss

    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("form", ["published", "tempered"])
@pytest.mark.parametrize("standardised", [False, True])
def test_the_teacher_takes_no_gradient(batch, form, standardised):
    for name in ("label", "distill", "support", "teacher", "teacher_support"):
        batch[name].requires_grad_()
    loss_of(D2M.of(support_form=form, standardise_logits=standardised), batch).loss.backward()
    assert batch["teacher"].grad is None
    assert batch["teacher_support"].grad is None
    for name in ("label", "distill", "support"):
        assert batch[name].grad.abs().max() > 0


def test_a_perfect_imitation_costs_nothing(batch):
    batch |= {"distill": batch["teacher"], "support": batch["teacher_support"]}
    for spec in (D2M.of(), D2M.of(support_form="tempered", standardise_logits=True)):
        terms = loss_of(spec, batch)
        assert abs(float(terms.values["kd"])) < 1e-12
        assert abs(float(terms.values["support"])) < 1e-6


def test_equal_rows_do_no_harm(batch):
    """Support distances that are all alike give a finite loss and a finite gradient."""
    for form, way in itertools.product(("published", "tempered"), (2, 5)):
        support = torch.zeros(1, way, way - 1, requires_grad=True)
        term = SupportDistances(support_form=form).distance(support, torch.randn(1, way, way - 1))
        term.backward()
        assert torch.isfinite(term)
        assert torch.isfinite(support.grad).all()
    logits = torch.zeros(1, 3, 5, requires_grad=True)
    TeacherLogits(standardise_logits=True).distance(
        logits, torch.randn(1, 3, 5), torch.zeros(1, 3, dtype=torch.long)
    ).backward()
    assert torch.isfinite(logits.grad).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 1000), st.floats(-100, 100))
def test_standardised_rows_do_not_depend_on_scale_and_place(seed, scale, shift):
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((3, 5)))
    z = standardise(x)
    torch.testing.assert_close(standardise(scale * x + shift), z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(z.mean(-1), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(z.std(-1, correction=0), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-4)


# Support distances.

SHUFFLED = {
    "sorted": [[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2]],
    "shuffled": [[2, 0, 1, 0, 2, 1], [1, 2, 2, 0, 1, 0]],
    "unequal": [[2, 2, 1, 2, 2, 0], [0, 1, 0, 0, 2, 1]],
}


@pytest.mark.parametrize("labels", SHUFFLED.values(), ids=SHUFFLED)
def test_support_distances_against_a_loop(labels):
    torch.manual_seed(0)
    features, labels = torch.randn(2, 6, 4, 3, dtype=torch.float64), torch.tensor(labels)
    found = support_distances(features, labels, 3)
    assert found.shape == (2, 3, 2)
    for b in range(2):
        expected = prototype_distances(features[b].numpy(), labels[b].tolist(), 3)
        np.testing.assert_allclose(found[b].numpy(), expected, rtol=1e-12)


def test_support_distances_do_not_depend_on_the_order_of_supports():
    torch.manual_seed(0)
    features, labels = torch.randn(1, 6, 4, 3, dtype=torch.float64), torch.tensor(SHUFFLED["unequal"][:1])
    order = torch.randperm(6)
    torch.testing.assert_close(
        support_distances(features[:, order], labels[:, order], 3), support_distances(features, labels, 3)
    )


def test_columns_are_the_other_classes_in_ascending_order():
    """Class c sits at the number c: the distance of c and o is (c - o)² times the width."""
    features = torch.arange(5.0).view(1, 5, 1, 1).expand(1, 5, 8, 3)
    found = support_distances(features, torch.arange(5)[None], 5)
    assert found[0].tolist() == [[-3.0 * (c - o) ** 2 for o in range(5) if o != c] for c in range(5)]


# The gradient of the support term at the size of real features: 2048 numbers, 8 frames.


def clips_like_real_ones(seed, scale):
    """(1, 25, 8, 2048): a class's own direction, a clip's own, and a little of each frame's."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, 2048, generator=generator)

    classes = draw(1, 5, 1).repeat_interleave(5, 1)
    return scale * (classes + 0.5 * draw(1, 25, 1) + 0.3 * draw(1, 25, 8))


def independent_frames(seed, scale):
    """(1, 25, 8, 2048) of independent numbers, in which distances differ least."""
    return scale * torch.randn(1, 25, 8, 2048, generator=torch.Generator().manual_seed(seed))


def relative_gradient(form, features, other):
    """|d term / d features| x |features|: what a step of a share of the features' size changes the term by."""
    labels = torch.arange(5).repeat_interleave(5)[None]
    features = features.requires_grad_()
    spec = SupportDistances(support_form=form)
    term = spec.distance(support_distances(features, labels, 5), support_distances(other, labels, 5))
    term.backward()
    return float(features.grad.norm() * features.detach().norm())


@pytest.mark.parametrize(("make", "scale"), [(clips_like_real_ones, 3.0), (independent_frames, 10.0)])
def test_support_gradient_dies_as_published_and_lives_tempered(make, scale):
    pairs = [(make(seed, scale), make(seed + 100, scale)) for seed in range(5)]
    published = sorted(relative_gradient("published", *pair) for pair in pairs)
    tempered = sorted(relative_gradient("tempered", *pair) for pair in pairs)
    assert published[2] < 1e-6  # the median; now and then two distances are nearly equal, which is a spike
    assert tempered[0] > 10  # every one


def test_tempered_gradient_does_not_depend_on_the_scale_of_features():
    strength = [
        relative_gradient("tempered", clips_like_real_ones(0, scale), clips_like_real_ones(1, scale))
        for scale in (0.03, 30.0)
    ]
    assert max(strength) / min(strength) == pytest.approx(1, abs=0.01)
