"""What a file is by the ending of its name: a recording in a container that FFmpeg reads, a picture, litter.

A file is asked for by name before it is opened, so this decides what is looked at; what cannot be read then is
an error of that file. What has none of these endings is passed over and told.
"""

from __future__ import annotations

import re

# The containers of recordings by the names of FFmpeg's demuxers, and the endings of their files, in lower case.
# Others are sound, subtitles, single pictures, raw streams without a size, or lists of further files to read.
CONTAINERS: dict[str, tuple[str, ...]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": (".mp4", ".mov", ".m4v", ".qt", ".3gp", ".3g2", ".mj2", ".f4v", ".ismv", ".psp"),
    "avi": (".avi", ".divx", ".amv"),
    "matroska,webm": (".mkv", ".webm", ".mk3d"),
    "mpeg": (".mpg", ".mpeg", ".mpe", ".m2p", ".vob", ".mod"),
    "mpegvideo": (".m1v", ".m2v", ".mpv"),
    "mpegts": (".ts", ".mts", ".m2ts", ".m2t", ".tod", ".trp"),
    "asf": (".wmv", ".asf"),
    "flv": (".flv",),
    "ogg": (".ogv", ".ogg", ".ogm"),
    "m4v": (".mpeg4",),
    "h264": (".h264", ".avc"),
    "hevc": (".h265", ".hevc"),
    "ivf": (".ivf",),
    "obu": (".obu",),
    "mjpeg": (".mjpeg", ".mjpg"),
    "dv": (".dv", ".dif"),
    "gif": (".gif",),
    "apng": (".apng",),
    "yuv4mpegpipe": (".y4m",),
    "mxf": (".mxf",),
    "nut": (".nut",),
    "rm": (".rm", ".rmvb"),
    "dhav": (".dav",),
    "wtv": (".wtv",),
}
VIDEO_SUFFIXES = tuple(suffix for suffixes in CONTAINERS.values() for suffix in suffixes)
VIDEO_WORDS = (
    f"{', '.join(('.mp4', '.avi', '.mkv', '.webm', '.mov', '.mts', '.gif'))} or another that FFmpeg reads"
)
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
_LITTER = ("__macosx", "thumbs.db", "desktop.ini")  # that systems leave everywhere, beside hidden files


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system leaves beside others: nothing of the data."""
    return name.startswith(".") or name.lower() in _LITTER


def is_video(name: str) -> bool:
    """Whether a file is a recording, to judge by its name."""
    return name.lower().endswith(VIDEO_SUFFIXES)


def is_picture(name: str) -> bool:
    """Whether a file is a frame of a clip, to judge by its name."""
    return name.lower().endswith(FRAME_SUFFIXES)


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts names with numbers in them as people do: 2.jpg before 10.jpg."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name))
