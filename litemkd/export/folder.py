"""The folder of an export: graphs, `model.json` with the digests of all files, and a card for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from litemkd_runtime.exported import DESCRIPTION, FORMAT, digest_of, file_digest

CARD = "README.md"
SAMPLING = "frame round(i (n - 1) / (T - 1)) of n, i = 0 … T - 1, halves to the even number"
PIXELS = "uint8, RGB, height x width x 3; they are normalised inside the graphs"
STORED = "resized to the short side, stored as JPEG (quality 95, 4:4:4), read back, cut in the middle"


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of packages."""
    return {name: version(name) for name in packages}


def write_description(folder: Path, about: Mapping[str, Any]) -> None:
    """Write `model.json` with the digests of the other files of the folder.

    Args:
        folder: with the files of the graphs.
        about: what is said: `graphs`, the file of each by its name, and more.
    """
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name != DESCRIPTION}
    told: dict[str, Any] = {"format": FORMAT, **about, "files": files}
    told["digest"] = digest_of(told)
    (folder / DESCRIPTION).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def card(about: Mapping[str, Any]) -> str:
    """What people should know of an exported folder, Markdown."""
    classes = about["classes"]
    bounds = about.get("most") or {}
    most = {key: f", at most {bounds[key]}" if bounds else "" for key in ("way", "shot")}
    way = f"{classes['way']} classes" if classes["way"] else f"any number of classes, two or more{most['way']}"
    shot = f"{classes['shot']} examples" if classes["shot"] else f"any number of examples{most['shot']}"
    check = about["check"]
    rows = {
        "Student": f"{about['model']}: {about['backbone']}, head {about['head']}",
        "Runtime": f"{about['runtime']}, {about['precision']}"
        + (f", opset {about['opset']}" if about.get("opset") else ""),
        "Clips": f"{about['frames']} frames of {about['crop']} x {about['crop']} pixels",
        "Frames": about["sampling"],
        "Pixels": f"{about['stored']}; {about['pixels']}",
        "Classes": f"{way}, {shot} of each; they need not be those of the training",
        "Trained on": about["dataset"],
        "Checked": f"{check['logits']} logits of real clips differ from PyTorch's by at most "
        f"{check['largest_difference']:.1e}, the largest being {check['largest_logit']:.1f} in size",
        "Licence of the weights": about["licence"],
        "Made with": ", ".join(f"{name} {number}" for name, number in about["made_with"].items()),
    }
    table = "\n".join(f"| {name} | {str(told).replace('|', ' ')} |" for name, told in rows.items())
    return f"""# A student for {about["runtime"]}

Written by `litemkd export`. It names clips from a few examples of each class.

| | |
|---|---|
{table}

```bash
litemkd-runtime predict --model . --support support --query clip.mp4
```

It names one of the classes that it was shown, whatever it sees. Files are checked by their digests in
`{DESCRIPTION}`: a folder that was changed is refused.
"""
