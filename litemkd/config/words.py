"""The section `teacher.words`: names of the supports' classes, as the teacher hears them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from litemkd.config.names import Section
from litemkd.config.own import mistake

PLACE = "{}"


def _tower(use: str) -> str:
    try:
        import_module("litemkd.models.text_towers").check_tower(use)
    except ValueError as error:
        raise mistake(str(error)) from error
    return use


def _template(text: str) -> str:
    if text.count(PLACE) != 1:
        raise mistake("a text with {} once, where the class's words go, would do, such as `a video of {}`")
    return text


def _spoken(text: str) -> str:
    if not text.strip():
        raise mistake("words would do, such as `waving a hand`")
    return text


class WordsConfig(Section):
    """Class names through CLIP's text tower."""

    use: Annotated[str, AfterValidator(_tower), Field(description="`transformers:clip`, or `open_clip:NAME`")]
    weights: Annotated[Path, Field(description="the library's folder, or a file of open_clip's weights")]
    templates: Annotated[
        tuple[Annotated[str, AfterValidator(_template)], ...],
        Field(min_length=1, description="what is said, {} being the words of a class"),
    ] = ("a photo of {}",)
    names: Annotated[
        dict[str, Annotated[str, AfterValidator(_spoken)]],
        Field(description="words by class, in the place of those of its name"),
    ] = {}
    scale: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="of the cosine between a query and a name")
    ] = 100.0
    weight: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="of these logits beside those of the head")
    ] = 1.0
