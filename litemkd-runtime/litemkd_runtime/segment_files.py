"""Segments of a recording as files: CSV, JSON, WebVTT, ELAN, and a picture of the timeline."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree as Tree

import cv2
import numpy as np

from litemkd_runtime.live import Segment, clock

_WIDE, _ROW, _LEFT = 1200, 26, 220  # pixels of the timeline


def write_segments(folder: Path, segments: Sequence[Segment], source: str, length: float) -> list[Path]:
    """Write all forms into a folder, each whole or not at all; their paths.

    Args:
        folder: made if need be.
        segments: in the order of their starts.
        source: what was watched, named in the ELAN file.
        length: of it, seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, content in (
        ("segments.csv", as_csv(segments).encode()),
        ("segments.json", (json.dumps([asdict(one) for one in segments], indent=2) + "\n").encode()),
        ("segments.vtt", as_webvtt(segments).encode()),
        ("segments.eaf", as_elan(segments, source)),
        ("timeline.png", cv2.imencode(".png", timeline(segments, length))[1].tobytes()),
    ):
        beside = folder / f".{name}.new"
        beside.write_bytes(content)
        beside.replace(folder / name)
        made.append(folder / name)
    return made


def as_csv(segments: Sequence[Segment]) -> str:
    """A row a segment: seconds, the class, its mean probability."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["start", "end", "name", "probability"])
    rows.writerows([f"{x.start:.3f}", f"{x.end:.3f}", x.name, f"{x.probability:.4f}"] for x in segments)
    return text.getvalue()


def as_webvtt(segments: Sequence[Segment]) -> str:
    """Subtitles that players show."""
    cues = []
    for one in segments:
        name = one.name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"{clock(one.start)} --> {clock(one.end)}\n{name}\n")
    return "\n".join(["WEBVTT\n", *cues])


def as_elan(segments: Sequence[Segment], source: str) -> bytes:
    """Annotations of a tier of ELAN (EAF 3.0)."""
    root = Tree.Element("ANNOTATION_DOCUMENT", AUTHOR="litemkd", FORMAT="3.0", VERSION="3.0")
    header = Tree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    Tree.SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=source, MIME_TYPE="video/*")
    order = Tree.SubElement(root, "TIME_ORDER")
    tier = Tree.SubElement(root, "TIER", LINGUISTIC_TYPE_REF="default-lt", TIER_ID="actions")
    for i, one in enumerate(segments):
        for slot, at in ((2 * i + 1, one.start), (2 * i + 2, one.end)):
            Tree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=f"ts{slot}", TIME_VALUE=str(round(1000 * at)))
        annotation = Tree.SubElement(
            Tree.SubElement(tier, "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            ANNOTATION_ID=f"a{i + 1}",
            TIME_SLOT_REF1=f"ts{2 * i + 1}",
            TIME_SLOT_REF2=f"ts{2 * i + 2}",
        )
        Tree.SubElement(annotation, "ANNOTATION_VALUE").text = one.name
    Tree.SubElement(
        root,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID="default-lt",
        TIME_ALIGNABLE="true",
    )
    return bytes(Tree.tostring(root, encoding="UTF-8", xml_declaration=True))


def timeline(segments: Sequence[Segment], length: float) -> np.ndarray:
    """A bar for each segment, a row for each class, (H, W, 3) BGR."""
    names = sorted({one.name for one in segments})
    picture = np.full((_ROW * (len(names) + 2), _WIDE, 3), 255, np.uint8)
    scale = (_WIDE - _LEFT - 20) / max(length, 1e-3)
    for row, name in enumerate(names):
        y = _ROW * (row + 1)
        shown = "".join(x if 32 <= ord(x) < 127 else "?" for x in name)[:28]
        cv2.putText(picture, shown, (8, y + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
        cv2.line(picture, (_LEFT, y), (_WIDE - 20, y), (225, 225, 225), 1)
        for one in segments:
            if one.name == name:
                ends = [int(_LEFT + scale * at) for at in (one.start, one.end)]
                cv2.rectangle(picture, (ends[0], y - 8), (max(ends[1], ends[0] + 1), y + 8), (180, 119, 31), -1)
    for part in range(5):
        x = int(_LEFT + scale * length * part / 4)
        at = (min(x, _WIDE - 90), picture.shape[0] - 8)
        cv2.putText(picture, clock(length * part / 4)[:8], at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1)
    return picture
