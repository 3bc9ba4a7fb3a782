"""Which files are recordings, to judge by their names: against FFmpeg's own list."""

from __future__ import annotations

import av
import pytest

from litemkd.recordings.endings import CONTAINERS, VIDEO_SUFFIXES, is_litter, is_picture, is_video

# What FFmpeg's demuxers of recordings read beside: sound, subtitles, single pictures, and numbers.
NO_RECORDINGS = {".m4a", ".m4b", ".isma", ".ism", ".mka", ".mks", ".avif", ".heic", ".heif", ".mpo"}
NO_RECORDINGS |= {".264", ".h26l", ".265"}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_ending_that_ffmpeg_knows_for_a_container_is_known_here(container: str) -> None:
    known = {f".{one}" for one in av.ContainerFormat(container, "r").extensions}
    assert known - NO_RECORDINGS <= set(VIDEO_SUFFIXES)
    assert set(container.split(",")) & set(av.formats_available)


def test_an_ending_stands_for_one_container() -> None:
    assert len(set(VIDEO_SUFFIXES)) == len(VIDEO_SUFFIXES)
    assert all(one == one.lower() and one.startswith(".") for one in VIDEO_SUFFIXES)


def test_letters_of_any_case_and_what_is_none() -> None:
    assert all(map(is_video, ("a.MTS", "a.m2ts", "a.Gif", "a.mp4.MKV", "a.vob", "a.rmvb")))
    assert not any(map(is_video, ("a.txt", "a.m4a", "mp4", "a.mp4.part", "a.jpg", "a.srt", "a.264")))
    assert all(map(is_picture, ("1.JPG", "1.jpeg", "1.png")))
    assert all(map(is_litter, (".DS_Store", "._a.mp4", "Thumbs.db", "desktop.ini", "__MACOSX")))
    assert not is_litter("notes.txt")
