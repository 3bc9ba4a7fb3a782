"""What lies in class folders, `<folder>/<class>/<clip>`: nothing that is there is passed over unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from litemkd.errors import DataError
from litemkd.files import not_a_file


def in_class_folders(folder: Path) -> Iterator[Path]:
    """All entries of all class folders, sorted; hidden ones are passed over, as are files beside class folders.

    Raises:
        DataError: a folder that cannot be listed, or a link in a class folder's place that leads nowhere.
    """
    for path in _listed(Path(folder)):
        if path.is_dir():
            yield from _listed(path)
        elif path.is_symlink() and not path.exists():
            raise DataError(
                f"{path} is a link that leads nowhere ({not_a_file(path)}); mend it or take it away"
            )


def _listed(folder: Path) -> list[Path]:
    try:
        listed = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    return [path for path in listed if not path.name.startswith(".")]
