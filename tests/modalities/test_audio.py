"""Sound of recordings as log-mel energies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from litemkd.data.packs.arrays import build_array_pack
from litemkd.data.preparing.arrays import find_arrays
from litemkd.data.preparing.modality import Place
from litemkd.errors import DataError
from litemkd.modalities.audio import HOP, LEAST, RATE, SPECTRUM, WINDOW, Audio, log_mel, mel_triangles
from litemkd.modalities.registry import identity, modality
from tests.data.recordings import numbered_frames, with_sound


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_energies_are_those_of_another_library() -> None:
    audio = pytest.importorskip("transformers.audio_utils")
    sound = np.random.default_rng(0).normal(size=4000).astype(np.float32) + tone(440, 0.25)
    filters = audio.mel_filter_bank(SPECTRUM // 2 + 1, 40, 0.0, RATE / 2, RATE, norm=None, mel_scale="htk")
    np.testing.assert_allclose(mel_triangles(40), filters, atol=1e-9)
    expected = audio.spectrogram(
        sound,
        audio.window_function(WINDOW, "hann"),
        WINDOW,
        HOP,
        SPECTRUM,
        power=2.0,
        center=False,
        mel_filters=filters,
        mel_floor=0.0,
    )
    np.testing.assert_allclose(log_mel(sound, 40), np.log(expected.T + LEAST), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_tone_is_in_its_band_whatever_the_track_s_rate(tmp_path: Path, rate: int) -> None:
    path = with_sound(tmp_path / "a.mkv", numbered_frames(10), tone(1000, rate=rate), rate)
    found = Audio("audio").read(path)
    assert found.shape[1] == 64
    assert abs(len(found) - 98) <= 1
    loudest = np.exp(found[5:-5]).mean(0).argmax()
    assert loudest == mel_triangles(64)[round(1000 / (RATE / SPECTRUM))].argmax()


def test_settings_and_packs(tmp_path: Path) -> None:
    files = {}
    for place in range(2):
        (tmp_path / "videos/hum").mkdir(parents=True, exist_ok=True)
        path = tmp_path / f"videos/hum/{place}.mkv"
        files[f"hum/{place}"] = (with_sound(path, numbered_frames(10), tone(500 * (place + 1))), path)
    few, usual = modality("sound", "audio", mels=20), modality("sound", "audio")
    assert identity(few) == 'litemkd.modalities.audio:Audio {"mels": 20}'
    found = find_arrays(Place(tmp_path / "made", tmp_path, 8, 32), few, [*files, "hum/2"])
    assert {name: found.files[name] for name in files} == files
    assert found.files["hum/2"][1] is None
    pack = build_array_pack(tmp_path, few, files, 8)
    assert pack.shape == (20,)
    np.testing.assert_array_equal(pack.clip(1), few.read(files["hum/1"][0]))
    assert build_array_pack(tmp_path, usual, files, 8).shape == (64,)


def test_recordings_without_sound_or_with_another_s_are_told(tmp_path: Path) -> None:
    long = with_sound(tmp_path / "long.mkv", numbered_frames(50), tone(300))
    short = with_sound(tmp_path / "short.mkv", numbered_frames(0), tone(300, 0.02))
    still = with_sound(tmp_path / "still.mkv", numbered_frames(10), None)
    for path, words in (
        (long, "1.0 s of sound and 5.0 s of film, so they are not of one length; 0.5 to 2 times"),
        (short, "0.020 s of sound; 0.025 s or more would do"),
        (still, "no sound in it; a recording with an audio track would do"),
        (tmp_path / "nothing.mkv", "no video"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            Audio("audio").read(path)
        assert str(path) in str(caught.value)
