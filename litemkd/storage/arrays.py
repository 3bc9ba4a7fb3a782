"""Arrays that others wrote (.npy), read without running code or trusting what they say of their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from litemkd.errors import DataError
from litemkd.storage.files import not_a_file


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy file. A shape that the file does not hold is refused before memory is taken for it.

    Raises:
        DataError: no file, no .npy, cut short, or with Python objects in it, which are never loaded.
    """
    if wrong := not_a_file(path):
        raise DataError(f"{path}: not readable as a NumPy array ({wrong})")
    try:
        # Mapped, so that the header is held against the file's length; it takes no archives and no objects.
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:  # of a damaged header NumPy raises nearly everything
        words = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not readable as a NumPy array ({words})") from error
