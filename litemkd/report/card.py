"""The data card as a page to read: what a data set holds, how it was made, what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litemkd.errors import some
from litemkd.modalities.registry import modalities
from litemkd.report.tables import markdown_table

_WAYS = {"keep": "frames as they were found", "video": "decoded from recordings", "arrays": "arrays by frame"}
_LISTED = 50  # names before "and n more"


def card_markdown(card: Mapping[str, Any], title: str = "Data card") -> str:
    """A card, as `Prepared.card` gives it, in Markdown."""
    parts = [f"# {title}", f"From: {card['source']}. Splits: {card['lists']}."]
    parts.append(f"Digest `{card['digest']}`; of what students see, lists and RGB, `{card['student_digest']}`.")
    parts.append(_splits(card))
    if card["differences"]:
        parts.append("Not as published:\n\n```\n" + "\n".join(card["differences"]) + "\n```")
    parts += ["## Modalities", _modalities(card["modalities"])]
    parts += ["## Left out", _left_out(card), "## Classes", _classes(card["splits"])]
    page = "\n\n".join(part.strip("\n") for part in parts) + "\n"
    return page.replace("<", "&lt;")  # a name that its maker gave a class or a clip is no part of the page


def _splits(card: Mapping[str, Any]) -> str:
    published = card["published"]
    header = ["split", "classes", "videos"] + ["published classes", "published videos"] * bool(published)
    rows = []
    for name, split in card["splits"].items():
        row = [name, str(split["classes"]), str(split["videos"])]
        if published:
            row += [str(published[name]["classes"]), str(published[name]["videos"])]
        rows.append(row)
    return markdown_table(header, rows)


def _modalities(found: Mapping[str, Any]) -> str:
    ways = _WAYS | {way.name: way.about for record in modalities({}).values() for way in record.ways}
    rows = [
        [
            name,
            about.get("made") or ways.get(about["method"], about["method"]),
            str(about["clips"]),
            str(about["frames"]),
            some([f"{size} ({count})" for size, count in about["sizes"].items()]),
            f"`{about['digest'][:16]}`",
        ]
        for name, about in found.items()
    ]
    return markdown_table(["modality", "made", "clips", "frames a clip", "sizes (clips)", "digest"], rows)


def _left_out(card: Mapping[str, Any]) -> str:
    lines = []
    if card["missing"]:
        lines.append(f"* Listed and not there, {len(card['missing'])}: {some(card['missing'], _LISTED)}")
    if card["unlisted_classes"]:
        count = len(card["unlisted_classes"])
        lines.append(f"* Class folders in no list, {count}: {some(card['unlisted_classes'], _LISTED)}")
    for modality, skipped in card["skipped"].items():
        if skipped:
            lines.append(f"* No {modality}, so left out of every modality, {len(skipped)}:")
            lines += [f"  * {one['clip']}: {one['reason']}" for one in skipped[:_LISTED]]
            if len(skipped) > _LISTED:
                lines.append(f"  * and {len(skipped) - _LISTED} more, see data_card.json")
    for modality, blank in card["blank"].items():
        if blank:
            lines.append(
                f"* Kept, but black in every frame of {modality}, {len(blank)}: {some(blank, _LISTED)}"
            )
    for modality, sampled in card["sampled"].items():
        if sampled:
            lines.append(
                f"* Kept, of more frames of {modality} than are taken, {len(sampled)}: {some(sampled, _LISTED)}"
            )
    if card["passed_over"]:
        others = card["passed_over"]
        lines.append(f"* Passed over, no clips by their endings, {len(others)}: {some(others, _LISTED)}")
    return "\n".join(lines) or "Nothing."


def _classes(splits: Mapping[str, Any]) -> str:
    return "\n\n".join(
        f"**{name}**: "
        + ", ".join(f"{one} ({count})" for one, count in sorted(split["videos_of_class"].items()))
        for name, split in splits.items()
    )
