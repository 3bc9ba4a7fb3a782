"""Losses by name: each published combination of terms, and a few that the field uses today.

A preset is a set of settings of the terms of D2M. The published code divides cross-entropies by
16, a number meant to be the episodes of a step; those weights are kept as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from litemkd.losses.terms import TERMS

PER_STEP = 1 / 16  # what the published code divides cross-entropies by


@dataclass(frozen=True)
class Preset:
    """A loss by name.

    Attributes:
        values: what differs from nothing: terms that are not named have weight 0.
        branches: of the student that it was made for; 0 where it does not matter.
        head: that it was made for; None where it does not matter.
        aliases: names in the published code.
        note: what it is, in a few words.
    """

    values: Mapping[str, Any]
    note: str
    branches: int = 2
    head: str | None = None
    aliases: tuple[str, ...] = field(default=())


_NOTHING = {term.name: 0.0 for term in TERMS}
_KL: dict[str, Any] = {"support_form": "kl"}
_BOTH_CE: dict[str, Any] = {"ce": PER_STEP, "ce_distill": PER_STEP}


def _of(note: str, *aliases: str, branches: int = 2, head: str | None = None, **values: Any) -> Preset:
    return Preset({**_NOTHING, "temperature": 4.0, **values}, note, branches, head, aliases)


PRESETS: dict[str, Preset] = {
    # The paper's default, and its form with a support term that has a gradient.
    "d2m": _of(
        "the paper's: KL of logits, Pearson of support distances, labels",
        "fc_2_sup_dist",
        ce=PER_STEP,
        kd=1.0,
        support=0.5,
    ),
    "d2m-tempered": _of(
        "d2m with support distances standardised first",
        ce=PER_STEP,
        kd=1.0,
        support=0.5,
        support_form="tempered",
    ),
    # Two branches.
    "two-branch": _of("labels in one branch, KL in the other", "fc_2", ce=PER_STEP, kd=2.0),
    "two-branch-focal": _of(
        "two-branch, weighed by which branch is ahead",
        "fc_2_wsl",
        ce=PER_STEP,
        kd=1.0,
        focal="branches",
        focal_kd=1.0,
        focal_rest=2.0,
    ),
    "d2m-kl": _of("d2m with KL of support distances", "fc_2_sup_kl", ce=PER_STEP, kd=1.0, support=0.5, **_KL),
    "d2m-focal": _of(
        "d2m, weighed by which branch is ahead",
        "fc_2_sup_dist_wsl",
        ce=PER_STEP,
        kd=1.0,
        support=0.5,
        focal="branches",
        focal_kd=0.5,
        focal_rest=1.5,
    ),
    "d2m-kl-focal": _of(
        "d2m-kl with a faint support term, weighed by which branch is ahead",
        "fc_2_sup",
        ce=PER_STEP,
        kd=1.0,
        support=0.1 * PER_STEP,
        focal="branches",
        focal_kd=1.0,
        focal_rest=2.0,
        **_KL,
    ),
    "d2m-labels": _of("d2m, labels in both branches", "fc_2_sup_dist_cece", kd=1.0, support=0.5, **_BOTH_CE),
    "d2m-kl-labels": _of(
        "d2m-kl, labels in both branches", "fc_2_sup_klklcece", kd=1.0, support=0.5, **_BOTH_CE, **_KL
    ),
    "d2m-pearson-labels": _of(
        "Pearson of logits and of support distances, labels in both branches",
        "fc_2_sup_distdistcece",
        kd=1.0,
        kd_form="pearson",
        support=0.5,
        **_BOTH_CE,
    ),
    "d2m-pearson-kl-labels": _of(
        "Pearson of logits, KL of support distances, labels in both branches",
        "fc_2_sup_disver",
        kd=1.0,
        kd_form="pearson",
        support=0.5,
        **_BOTH_CE,
        **_KL,
    ),
    "d2m-both-supports": _of(
        "d2m, support distances of both branches",
        "fc_2_sup_2",
        ce=PER_STEP,
        kd=1.0,
        support=1.0,
        support_branch="both",
    ),
    # One branch.
    "labels": _of("labels only", "ce", branches=1, ce=PER_STEP),
    "kd": _of("Hinton's distillation", "KD", branches=1, ce=PER_STEP, kd=2.0),
    "kd-focal": _of(
        "kd, weighed by how far the student is behind",
        "wsl",
        branches=1,
        ce=PER_STEP,
        kd=2.0,
        focal="teacher",
    ),
    "kd-pearson": _of("Pearson of logits", "Dist_KD", branches=1, ce=PER_STEP, kd=2.0, kd_form="pearson"),
    "kd-relation": _of(
        "KL of logits and of how classes relate for each query",
        "support_sim",
        branches=1,
        ce=PER_STEP,
        kd=1.0,
        relation=1.0,
    ),
    "kd-feature": _of(
        "KL of logits, squared error of frame features",
        "KL_feature",
        branches=1,
        ce=PER_STEP,
        kd=2.0,
        feature=1.0,
        feature_form="plain",
    ),
    "d2m-one-branch": _of(
        "d2m in one branch", "fc_1_sup", "e_dist_1fc_sup", branches=1, ce=PER_STEP, kd=1.0, support=0.5
    ),
    "support": _of("labels and the support term", "fc_sup", branches=1, ce=PER_STEP, support=0.5),
    # STRM.
    "strm-labels": _of("labels only", "strm", branches=1, head="strm", ce=PER_STEP),
    "strm-kd": _of(
        "KL into the frame logits", "strm_KD", branches=1, head="strm", ce=PER_STEP, kd=2.0, kd_parts="frame"
    ),
    "strm-d2m": _of("d2m with STRM", "strm_fc_2_sup_dist", head="strm", ce=PER_STEP, kd=1.0, support=0.5),
    "strm-d2m-one-branch": _of(
        "d2m with STRM in one branch", "strm_1fc_sup", branches=1, head="strm", ce=PER_STEP, kd=1.0, support=0.5
    ),
    # What the field uses today. Losses of a step are averaged here, so labels count in full.
    "dkd": _of(
        "decoupled distillation: target and other classes apart (CVPR 2022)",
        ce=1.0,
        ce_distill=1.0,
        kd=1.0,
        kd_form="decoupled",
    ),
    "dist": _of(
        "DIST: Pearson over classes and over queries (NeurIPS 2022)",
        ce=1.0,
        ce_distill=1.0,
        kd=1.0,
        kd_form="dist",
    ),
    "kd-standardised": _of(
        "KL of standardised logits (CVPR 2024)",
        ce=1.0,
        ce_distill=1.0,
        kd=1.0,
        standardise_logits=True,
        temperature=1.0,
    ),
    "feature-projected": _of(
        "the teacher's frame features guessed through a learned projection",
        ce=1.0,
        ce_distill=1.0,
        feature=10.0,
    ),
}


def preset(name: str) -> Preset:
    """A preset by its name or by its name in the published code.

    Raises:
        KeyError: there is none.
    """
    if name in PRESETS:
        return PRESETS[name]
    for one in PRESETS.values():
        if name in one.aliases:
            return one
    raise KeyError(name)


def preset_names() -> list[str]:
    """All names, those of the published code included."""
    return [*PRESETS, *(alias for one in PRESETS.values() for alias in one.aliases)]
