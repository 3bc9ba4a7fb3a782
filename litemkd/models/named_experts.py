"""Experts by name: of libraries, those that come with litemkd, and those of others."""

from __future__ import annotations

from importlib.util import find_spec

from litemkd.extending.outside import near
from litemkd.models.experts import OWN_EXPERT, Expert
from litemkd.models.image_towers import TOWERS, open_clip_tower
from litemkd.models.video_encoders import FAMILIES

TRANSFORMERS, OPEN_CLIP = "transformers", "open_clip"
EXTRAS = {TRANSFORMERS: "video", OPEN_CLIP: "towers"}


def find_expert(use: str) -> type[Expert]:
    """The expert that `use` names: `transformers:FAMILY`, `open_clip:NAME`, or as `OWN_EXPERT` finds them.

    Raises:
        ValueError: what is wrong with it, and what would do.
    """
    library, colon, name = use.partition(":")
    if library not in EXTRAS or not colon:
        return OWN_EXPERT.find(use)
    known = {**FAMILIES, **TOWERS}
    if library == TRANSFORMERS and name not in known:
        raise ValueError(f"no such video or image encoder; {near(name, known)}")
    if find_spec(library) is None:
        raise ValueError(
            f"it is of the package {library}, which is not installed: pip install 'litemkd[{EXTRAS[library]}]'"
        )
    return known[name] if library == TRANSFORMERS else open_clip_tower(name)
