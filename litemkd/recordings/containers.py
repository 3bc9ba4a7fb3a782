"""What containers of recordings say of their own length: a file that holds less was cut.

FFmpeg reads what there is of a cut AVI, WMV or Matroska, and of an MP4 whose index comes first, and may say
nothing. Other containers, streams that are made to be joined anywhere, do not say how long they are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # boxes that MP4 and QuickTime begin with
_NEEDED = (b"moov", b"moof", b"mdat")  # those that pictures cannot be read without
# Header and data of ASF, which WMV is.
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_MOST = 100_000  # parts of a file that are looked at


def missing_bytes(path: Path) -> int:
    """How many bytes a recording's container says it has, and the file has not; 0 where it does not say.

    What stands behind the pictures, as AVI's index does, may be missing.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            end = _end_of_avi(file, size)
        elif head[:4] == _EBML:
            end = _end_of_matroska(file)
        elif head == _ASF_HEADER:
            end = _end_of_asf(file, size)
        elif head[4:8] in _FIRST:
            end = _end_of_mp4(file, size)
        else:
            end = 0
    return max(0, end - size)


def _end_of_avi(file: BinaryIO, size: int) -> int:
    """Where the last list of pictures ends. A file above 1 GB is several in a row."""
    at = end = 0
    for _ in range(_MOST):
        if at + 12 > size:
            break
        file.seek(at)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] == b"RIFF":
            at += 12
            continue
        if (
            head[:4] == b"LIST" and head[8:] == b"movi" and length != 0xFFFFFFFF
        ):  # not known when it was written
            end = at + 8 + length
        at += 8 + length + length % 2
    return end


def _end_of_mp4(file: BinaryIO, size: int) -> int:
    """Where the last box that pictures need ends. A fragment's head has its pictures in a box behind it."""
    at = end = 0
    kind = b""
    for _ in range(_MOST):
        if at + 8 > size:
            break
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0 is "up to the end", and the others are no box
            break
        at += length
        kind = head[4:8]
        if kind in _NEEDED:
            end = at
    return end + 8 if kind == b"moof" else end


def _end_of_asf(file: BinaryIO, size: int) -> int:
    """Where the data ends; a live recording's has no end."""
    at = 0
    for _ in range(_MOST):
        if at + 24 > size:
            break
        file.seek(at)
        head = file.read(24)
        length = int.from_bytes(head[16:], "little")
        if length < 24:
            break
        at += length
        if head[:16] == _ASF_DATA:
            return at
    return 0


def _end_of_matroska(file: BinaryIO) -> int:
    """Where the segment ends; a live recording's has no end."""
    file.seek(4)
    header = _number(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    length = _number(file)
    return 0 if length is None else file.tell() + length


def _number(file: BinaryIO) -> int | None:
    """Matroska's length: as many bytes as the first has leading zero bits, and one; None for one not known."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    mask = (1 << (7 * (more + 1))) - 1
    value = int.from_bytes(first + rest, "big") & mask
    return None if len(rest) < more or value == mask else value
