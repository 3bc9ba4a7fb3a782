"""The licence of the weights that a student began with."""

from __future__ import annotations

from litemkd.models.catalogue import PACKAGE, TIMM, source_of

_RESEARCH = "the weights were learned from ImageNet, whose pictures are for research that is not commercial"


def licence_of(name: str, weights: str) -> str:
    """The licence of a backbone's first weights, in words.

    Args:
        name: of the backbone.
        weights: as the configuration names them.
    """
    source, there = source_of(name)
    if weights == "none":
        return "none of others: the student was trained from random weights"
    if weights == PACKAGE:
        return "Apache-2.0, of the package that they came in"
    if weights != "imagenet":
        return f"that of the file they were read from, {weights}: not known here"
    if source != TIMM:
        return f"BSD-3-Clause, torchvision; {_RESEARCH}"
    from timm.models import get_pretrained_cfg

    told = getattr(get_pretrained_cfg(there), "license", None)
    return f"{told or 'not told by'}, timm; {_RESEARCH}"
