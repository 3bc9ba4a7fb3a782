"""An exported folder: graphs, and `model.json`, which says what they take and has the digests of all files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litemkd_runtime.errors import RecogniserError

FORMAT = 1
DESCRIPTION = "model.json"
# The graphs that a folder may have. `features` and `codes` are there for `clips` where single frames are seen.
FEATURES, CODES, CLIPS, MATCH = "features", "codes", "clips", "match"


@dataclass(frozen=True)
class Exported:
    """A folder that is whole and unchanged.

    Attributes:
        folder: where it lies.
        about: what `model.json` says.
    """

    folder: Path
    about: Mapping[str, Any]

    @property
    def frames(self) -> int:
        """T, frames of a clip."""
        return int(self.about["frames"])

    @property
    def crop(self) -> int:
        """Height and width of a frame, pixels."""
        return int(self.about["crop"])

    @property
    def short_side(self) -> int:
        """That frames are resized to before they are cut, pixels."""
        return int(self.about["short_side"])

    @property
    def frame_by_frame(self) -> bool:
        """Whether single frames have features, of which the code of a clip is made."""
        return FEATURES in self.about["graphs"]

    def file(self, graph: str) -> Path:
        """The file of a graph."""
        return self.folder / str(self.about["graphs"][graph])


def digest_of(about: Mapping[str, Any]) -> str:
    """The digest of a description, which holds those of the files: sha256 of its JSON without `digest`."""
    rest = {key: value for key, value in about.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_exported(folder: Path | str) -> Exported:
    """An exported folder, if nothing of it was changed.

    Raises:
        RecogniserError: no such folder, of another format, or changed: the file is named.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecogniserError(
            f"{folder}: holds no {DESCRIPTION} that can be read ({error.strerror}); a folder that `litemkd "
            "export` has written would do"
        ) from None
    except ValueError as error:
        raise RecogniserError(f"{path}: is no JSON ({error}); export the model anew") from None
    if not isinstance(about, dict) or "graphs" not in about or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else type(about).__name__
        raise RecogniserError(
            f"{path}: format {found!r} given; {FORMAT}, as `litemkd export` writes it, would do"
        )
    if about.get("digest") != digest_of(about):
        raise _changed(path)
    for name, wanted in about["files"].items():
        if not (folder / name).is_file() or file_digest(folder / name) != wanted:
            raise _changed(folder / name)
    return Exported(folder, about)


def _changed(path: Path) -> RecogniserError:
    what = "was changed since it was exported" if path.exists() else "is missing"
    return RecogniserError(f"{path}: {what}, to judge by its digest; a fresh copy, or a new export, would do")
