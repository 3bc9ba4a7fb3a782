"""Figures of the first version: random weights by seed, and digests that name checkpoints and models."""

from __future__ import annotations

import torch
from torch import nn

from litemkd.config import digest_of, load_config
from litemkd.stages.build import build_student, build_teacher
from tests.job import ROOT, SMOKE

PUBLISHED = ROOT / "experiments" / "published.yaml"


def sums(model: nn.Module) -> list[float]:
    """Sums of the absolute values of the first two and the last two parameters."""
    parameters = [parameter.detach() for parameter in model.parameters()]
    return [round(float(one.abs().sum()), 3) for one in parameters[:2] + parameters[-2:]]


def test_a_seed_gives_the_weights_that_it_gave() -> None:
    config = load_config(SMOKE)
    teacher, student = build_teacher(config.teacher, 512, 8, 0), build_student(config.student, 8, 0)
    torch.testing.assert_close(sums(teacher), [262.836, 512.0, 128.0, 0.0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(sums(student), [81.97, 32.0, 1453.393, 2.912], rtol=1e-4, atol=1e-3)


def test_settings_have_the_digests_that_they_had() -> None:
    smoke, published = load_config(SMOKE, ["student.temporal=none"]), load_config(PUBLISHED)
    assert [digest_of(part) for part in (smoke.teacher, smoke.student, smoke.loss)] == [
        "a67f85b11240fef8",
        "04c105f383faba4c",
        "cf04e99e69f73075",
    ]
    assert digest_of("x", str(smoke.student), str(smoke.loss), str(smoke.teacher)) == "ab84a9d9eb64138c"
    assert (digest_of(smoke), digest_of(published)) == ("aee353f411748024", "63a2d20b70e79f17")
