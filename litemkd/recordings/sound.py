"""The sound of a recording, decoded by PyAV to one channel."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from litemkd.errors import DataError
from litemkd.recordings.streams import container_of

MAX_RATIO = 2.0  # of the lengths of sound and film of one recording


def read_sound(path: Path, rate: int) -> np.ndarray:
    """All of a recording's sound, its channels mixed, (N,) float32 of about -1 to 1.

    Args:
        path: of a recording.
        rate: samples a second.

    Raises:
        DataError: unreadable, no sound in it, or sound and film of quite other lengths.
    """
    with container_of(path) as container:
        if not container.streams.audio:
            raise DataError(f"{path}: no sound in it; a recording with an audio track would do")
        track = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        parts: list[np.ndarray] = []
        for frame in container.decode(track):
            parts += [one.to_ndarray()[0] for one in resampler.resample(frame)]
        parts += [one.to_ndarray()[0] for one in resampler.resample(None)]
        films = [float(one.duration * one.time_base) for one in container.streams.video if one.duration]
        if not films and container.duration:  # some containers tell the length of the longest of them alone
            films = [container.duration / av.time_base]
    sound = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    lasts = len(sound) / rate
    if films and not max(films) / MAX_RATIO <= lasts <= max(films) * MAX_RATIO:
        raise DataError(
            f"{path}: {lasts:.1f} s of sound and {max(films):.1f} s of film, so they are not of one length; "
            f"{1 / MAX_RATIO:g} to {MAX_RATIO:g} times as much would do"
        )
    return sound
