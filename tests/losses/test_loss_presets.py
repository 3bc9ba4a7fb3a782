"""The 24 losses of the original by their own formulas in NumPy, against the presets that stand for them.

The formulas are written here as they were published, with the original's names of logits and its literal
constants; nothing is taken from the presets. Each is checked in value and in its gradient, the latter by
central differences.
"""

import numpy as np
import pytest
import torch

from litemkd.losses import D2M
from litemkd.losses.presets import PRESETS, preset
from tests.lessons import Knowledge, d2m_loss

Q, W, T = 20, 5, 4
h, a, as_, aq, f = 1, 2, 1, 1, 1  # the original's defaults of its weights


# The published terms; rows are queries, or classes for support distances.


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kl(student, teacher):
    s, t = log_softmax(student / T), log_softmax(teacher / T)
    return T**2 * (np.exp(t) * (t - s)).sum(-1).mean()


def p(student, teacher):
    """1 - Pearson of softmaxed rows, at temperature 1 whatever T is."""
    x, y = np.exp(log_softmax(student)), np.exp(log_softmax(teacher))
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    scale = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1) + 1e-8
    return 1 - ((x * y).sum(-1) / scale).mean()


def mse(x, y):
    return ((x - y) ** 2).mean()


def r(x):
    return x.reshape(20, 25)


class Labels:
    """The terms that look at labels: ce, and w, which is a constant for the gradient."""

    def __init__(self, labels, constant=None):
        self.labels, self.constant = labels, constant

    def ce(self, z):
        return -log_softmax(z)[np.arange(len(z)), self.labels].mean()

    def w(self, x, y):
        if self.constant is None:
            return 1 - np.exp(-max(self.ce(x) / (self.ce(y) + 1e-8), 0))
        return self.constant


# Each loss: student, teacher, ce, w -> its value.

FORMULAS = {
    "KD": lambda s, t, ce, w: h * ce(s) / 16 + a * kl(s, t),
    "wsl": lambda s, t, ce, w: h * ce(s) / 16 + a * w(s, t) * kl(s, t),
    "ce": lambda s, t, ce, w: ce(s) / 16,
    "Dist_KD": lambda s, t, ce, w: h * ce(s) / 16 + a * p(s, t),
    "support_sim": lambda s, t, ce, w: (
        h * ce(s["query"]) / 16
        + as_ * kl(r(s["support_set"]), r(t["support_set"]))
        + aq * kl(s["query"], t["query"])
    ),
    "KL_feature": lambda s, t, ce, w: (
        h * ce(s["logits"]) / 16 + a * kl(s["logits"], t["logits"]) + f * mse(s["feature"], t["feature"])
    ),
    "fc_2": lambda s, t, ce, w: h * ce(s["fc_1"]) / 16 + a * kl(s["fc_2"], t),
    "fc_2_wsl": lambda s, t, ce, w: (
        (1 + w(s["fc_1"], s["fc_2"])) * kl(s["fc_2"], t) + (2 - w(s["fc_1"], s["fc_2"])) * ce(s["fc_1"]) / 16
    ),
    "strm": lambda s, t, ce, w: 0.1 * ce(s["pat"]) / 16 + ce(s["fr"]) / 16,
    "strm_KD": lambda s, t, ce, w: 0.1 * ce(s["pat"]) / 16 + ce(s["fr"]) / 16 + a * kl(s["fr"], t),
    "fc_2_sup": lambda s, t, ce, w: (
        (1 + w(s["ce"], s["kl"])) * kl(s["kl"], t["kl"])
        + (2 - w(s["ce"], s["kl"])) * (0.1 * kl(s["sup"], t["sup"]) / 16 + ce(s["ce"]) / 16)
    ),
    "fc_2_sup_dist": lambda s, t, ce, w: kl(s["kl"], t["kl"]) + 0.5 * p(s["sup"], t["sup"]) + ce(s["ce"]) / 16,
    "fc_2_sup_kl": lambda s, t, ce, w: kl(s["kl"], t["kl"]) + 0.5 * kl(s["sup"], t["sup"]) + ce(s["ce"]) / 16,
    "fc_2_sup_dist_cece": lambda s, t, ce, w: (
        kl(s["kl"], t["kl"]) + ce(s["kl"]) / 16 + 0.5 * p(s["sup"], t["sup"]) + ce(s["ce"]) / 16
    ),
    "fc_2_sup_klklcece": lambda s, t, ce, w: (
        kl(s["kl"], t["kl"]) + ce(s["kl"]) / 16 + 0.5 * kl(s["sup"], t["sup"]) + ce(s["ce"]) / 16
    ),
    "fc_2_sup_distdistcece": lambda s, t, ce, w: (
        p(s["kl"], t["kl"]) + ce(s["kl"]) / 16 + 0.5 * p(s["sup"], t["sup"]) + ce(s["ce"]) / 16
    ),
    "fc_2_sup_2": lambda s, t, ce, w: (
        kl(s["kl"], t["kl"]) + p(s["sup_kl"], t["sup"]) + ce(s["ce"]) / 16 + p(s["sup_ce"], t["sup"])
    ),
    "fc_2_sup_disver": lambda s, t, ce, w: (
        0.5 * kl(s["sup"], t["sup"]) + p(s["kl"], t["kl"]) + ce(s["ce"]) / 16 + ce(s["kl"]) / 16
    ),
    "fc_2_sup_dist_wsl": lambda s, t, ce, w: (
        (0.5 + w(s["ce"], s["kl"])) * kl(s["kl"], t["kl"])
        + (1.5 - w(s["ce"], s["kl"])) * (0.5 * p(s["sup"], t["sup"]) + ce(s["ce"]) / 16)
    ),
    "strm_fc_2_sup_dist": lambda s, t, ce, w: (
        kl(s["fr1"], t["kl"])
        + 0.5 * p(s["sup"], t["sup"])
        + ce(s["fr2"]) / 16
        + 0.1 * (kl(s["pat"], t["kl"]) + ce(s["pat"]) / 16)
    ),
    "strm_1fc_sup": lambda s, t, ce, w: (
        kl(s["fr"], t["kl"])
        + 0.5 * p(s["sup"], t["sup"])
        + ce(s["fr"]) / 16
        + 0.1 * (kl(s["pat"], t["kl"]) + ce(s["pat"]) / 16)
    ),
    "fc_1_sup": lambda s, t, ce, w: kl(s["kl"], t["kl"]) + 0.5 * p(s["sup"], t["sup"]) + ce(s["kl"]) / 16,
    "fc_sup": lambda s, t, ce, w: 0.5 * p(s["sup"], t["sup"]) + ce(s["kl"]) / 16,
    "e_dist_1fc_sup": lambda s, t, ce, w: kl(s["kl"], t["kl"]) + 0.5 * p(s["sup"], t["sup"]) + ce(s["kl"]) / 16,
}

# What the original's entries are here, with two branches; with one, everything is of the label branch.
STUDENT = {"ce": "label", "fc_1": "label", "fr2": "label", "kl": "distill", "fc_2": "distill", "fr1": "distill"}
STUDENT |= {"query": "label", "logits": "label", "fr": "label", "pat": "patch"}
STUDENT |= {"sup": "sup label", "sup_ce": "sup label", "sup_kl": "sup distill"}
STUDENT |= {"support_set": "relation", "feature": "feature"}
TEACHER = {"kl": "logits", "query": "logits", "logits": "logits", "sup": "sup"}
TEACHER |= {"support_set": "relation", "feature": "feature"}
TWO_BRANCHES = {name for name in FORMULAS if "fc_2" in name}
PLAIN_STUDENT = {"KD", "wsl", "ce", "Dist_KD"}  # one array, not named ones
PLAIN_TEACHER = PLAIN_STUDENT | {"fc_2", "fc_2_wsl", "strm", "strm_KD"}
FOCAL = {"wsl", "fc_2_wsl", "fc_2_sup", "fc_2_sup_dist_wsl"}

SHAPES = {
    "label": (Q, W),
    "distill": (Q, W),
    "patch": (Q, W),
    "sup label": (W, W - 1),
    "sup distill": (W, W - 1),
}
SHAPES |= {"relation": (Q, W * W), "feature": (3, 2, 4)}
TEACHER_SHAPES = {"logits": (Q, W), "sup": (W, W - 1), "relation": (Q, W * W), "feature": (3, 2, 4)}


def draw(seed):
    """Student's and teacher's arrays by name, labels of the queries."""
    random = np.random.default_rng(seed)
    student = {name: 2 * random.standard_normal(shape) for name, shape in SHAPES.items()}
    teacher = {name: 3 * random.standard_normal(shape) for name, shape in TEACHER_SHAPES.items()}
    return student, teacher, random.integers(0, W, Q)


def entries(alias, student, teacher):
    """What the original's formula is given: one array, or entries by the original's names."""
    kinds = STUDENT if alias in TWO_BRANCHES else STUDENT | {"kl": "label"}
    s = student["label"] if alias in PLAIN_STUDENT else {key: student[kind] for key, kind in kinds.items()}
    t = teacher["logits"] if alias in PLAIN_TEACHER else {key: teacher[kind] for key, kind in TEACHER.items()}
    return s, t


def published(alias, student, teacher, labels):
    """The original's value."""
    return FORMULAS[alias](*entries(alias, student, teacher), labels.ce, labels.w)


def used_by(alias):
    """The student's arrays that a formula looks at, found by taking each away."""
    student, teacher, labels = draw(0)
    value = published(alias, student, teacher, Labels(labels))
    other = draw(1)[0]
    return {
        name
        for name in student
        if published(alias, student | {name: other[name]}, teacher, Labels(labels)) != value
    }


def terms_here(alias, student, teacher, labels):
    """The same here; arrays have gained a leading axis of episodes, all but the features."""
    chosen = preset(alias)
    branches = ("label", "distill")[: chosen.branches]
    logits = {branch: {"frame": student[branch]} for branch in branches}
    parts = None
    if alias.startswith("strm"):
        parts = {"frame": 1.0, "patch": 0.1}
        for branch in branches:
            logits[branch]["patch"] = student["patch"]
    return d2m_loss(
        D2M.of(**chosen.values),
        logits,
        labels,
        parts=parts,
        support={branch: student[f"sup {branch}"] for branch in branches},
        knowledge=Knowledge(teacher["logits"], teacher["sup"], teacher["feature"], teacher["relation"]),
        projected=student["feature"],
        relation=student["relation"],
    )


def as_tensors(arrays, grad=False):
    return {
        name: torch.tensor(x if name == "feature" else x[None], requires_grad=grad)
        for name, x in arrays.items()
    }


@pytest.mark.parametrize("alias", FORMULAS)
@pytest.mark.parametrize("seed", range(3))
def test_value(alias, seed):
    student, teacher, labels = draw(seed)
    expected = published(alias, student, teacher, Labels(labels))
    found = terms_here(alias, as_tensors(student), as_tensors(teacher), torch.from_numpy(labels)[None]).loss
    assert found.shape == ()
    assert float(found) == pytest.approx(expected, rel=1e-10)


def weight_of(alias, student, teacher, labels):
    """The focal weight at this place, for the formulas that have one."""
    kept = Labels(labels)
    return kept.w(student["label"], teacher["logits"] if alias == "wsl" else student["distill"])


@pytest.mark.parametrize("alias", FORMULAS)
def test_gradient(alias):
    student, teacher, labels = draw(7)
    inputs = as_tensors(student, grad=True)
    terms_here(alias, inputs, as_tensors(teacher), torch.from_numpy(labels)[None]).loss.backward()
    constant = Labels(labels, weight_of(alias, student, teacher, labels))
    assert published(alias, student, teacher, constant) == pytest.approx(
        published(alias, student, teacher, Labels(labels)), rel=1e-12
    )
    step = 1e-5
    used = used_by(alias)
    for name, array in student.items():
        slopes = np.zeros_like(array)
        for place in np.ndindex(*array.shape) if name in used else ():
            before = array[place]
            values = []
            for moved in (before + step, before - step):
                array[place] = moved
                values.append(published(alias, student, teacher, constant))
            array[place] = before
            slopes[place] = (values[0] - values[1]) / (2 * step)
        grad = inputs[name].grad
        found = np.zeros_like(array) if grad is None else grad.numpy().reshape(array.shape)
        np.testing.assert_allclose(found, slopes, rtol=1e-6, atol=1e-8, err_msg=name)
        assert (np.abs(slopes).max() > 1e-6) == (name in used)


def test_every_published_loss_has_its_preset():
    assert len(FORMULAS) == 24
    named = {alias: preset(alias) for alias in FORMULAS}
    for alias, found in named.items():
        assert found in PRESETS.values(), alias
        assert found.branches == (2 if alias in TWO_BRANCHES else 1), alias
        D2M.of(**found.values)
    assert named["e_dist_1fc_sup"] == named["fc_1_sup"]
    assert len({next(name for name, x in PRESETS.items() if x is found) for found in named.values()}) == 23
    for name, found in PRESETS.items():
        assert preset(name) == found


@pytest.mark.parametrize("alias", sorted(set(FORMULAS) - FOCAL))
def test_a_batch_costs_the_mean_of_its_episodes(alias):
    """Of equally many queries. (The focal weight compares means over all queries, so it is left out here.)"""
    draws = [draw(seed) for seed in (1, 2)]
    for student, teacher, _ in draws:  # features are of videos, not of episodes
        student["feature"], teacher["feature"] = draws[0][0]["feature"], draws[0][1]["feature"]
    alone = [published(alias, student, teacher, Labels(labels)) for student, teacher, labels in draws]
    student, teacher = (
        {
            name: torch.from_numpy(x if name == "feature" else np.stack([x, draws[1][side][name]]))
            for name, x in draws[0][side].items()
        }
        for side in (0, 1)
    )
    labels = torch.from_numpy(np.stack([draws[0][2], draws[1][2]]))
    assert float(terms_here(alias, student, teacher, labels).loss) == pytest.approx(np.mean(alone), rel=1e-10)
