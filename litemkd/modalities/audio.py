"""Audio: the sound of a clip's own recording, as a log-mel spectrogram.

The track is mixed to one channel of 16 kHz. Each frame is 25 ms long and begins 10 ms after the one before:
Hann window, power spectrum, triangles of height 1 that are evenly spread on the mel scale
(2595 log10(1 + f / 700)), natural logarithm. So is what networks for sounds see since VGGish (Hershey et al.,
ICASSP 2017).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np

from litemkd.errors import DataError
from litemkd.extending.declared import About
from litemkd.modalities.record import Modality
from litemkd.recordings.endings import VIDEO_SUFFIXES
from litemkd.recordings.sound import read_sound

RATE = 16_000  # samples a second
WINDOW, HOP, SPECTRUM = 400, 160, 512  # samples: of a frame, from one to the next, of the Fourier transform
LEAST = 1e-6  # power that is heard


def log_mel(sound: np.ndarray, mels: int) -> np.ndarray:
    """(N,) samples of `RATE` -> (F, mels) float32, F = 1 + (N - WINDOW) // HOP."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(frames * hann, SPECTRUM)) ** 2
    return np.log(power @ mel_triangles(mels) + LEAST).astype(np.float32)


def mel_triangles(mels: int) -> np.ndarray:
    """How much each frequency counts in each of the bands, (SPECTRUM // 2 + 1, mels), from 0 Hz to RATE / 2."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, mels + 2) / 2595) - 1)
    frequencies = np.linspace(0, RATE / 2, SPECTRUM // 2 + 1)[:, None]
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


class Audio(Modality):
    """Log-mel energies by frame, (F, mels), 100 frames a second.

    Args:
        name: under which it goes.
        mels: bands.
    """

    kind = "arrays"
    source = "videos"
    suffixes = VIDEO_SUFFIXES

    def __init__(self, name: str, *, mels: Annotated[int, About("bands", above=0, most=256)] = 64) -> None:
        super().__init__(name)
        self.mels = mels

    def read(self, path: Path) -> np.ndarray:
        """(F, mels) of a recording.

        Raises:
            DataError: it has no sound, or less than a frame of it.
        """
        sound = read_sound(path, RATE)
        if len(sound) < WINDOW:
            raise DataError(f"{path}: {len(sound) / RATE:.3f} s of sound; {WINDOW / RATE} s or more would do")
        return log_mel(sound, self.mels)
