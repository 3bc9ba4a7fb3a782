"""The contact sheet: every frame at its place, under its number, beside its modality."""

import numpy as np

from litemkd.report.contact import GAP, HEIGHT, LABEL, TITLE, contact_sheet


def plain(colour: tuple[int, int, int], T: int = 3, height: int = 48, width: int = 64) -> np.ndarray:
    frames = np.empty((T, height, width, 3), np.uint8)
    frames[:] = colour
    frames[..., 2] += np.arange(T, dtype=np.uint8)[:, None, None]  # frame t is t bluer
    return frames


def test_frames_lie_in_columns_and_modalities_in_rows():
    clips = {
        "run/a": {"rgb": plain((200, 0, 0)), "flow": plain((0, 150, 0), height=100, width=100)},
        "jump/b": {"rgb": plain((100, 100, 0)), "flow": plain((0, 0, 90))},
    }
    sheet = np.asarray(contact_sheet(clips))
    column = round(64 * HEIGHT / 48) + GAP
    block = 2 * TITLE + 2 * (HEIGHT + GAP) + 3 * GAP
    assert sheet.shape == (2 * block, LABEL + 3 * column + GAP, 3)
    for c, rows in enumerate(clips.values()):
        for m, frames in enumerate(rows.values()):
            for t, frame in enumerate(frames):
                y, x = c * block + 2 * TITLE + m * (HEIGHT + GAP), LABEL + t * column
                assert sheet[y + HEIGHT // 2, x + 40].tolist() == frame[0, 0].tolist()
                assert sheet[y + HEIGHT - 1, x].tolist() == frame[0, 0].tolist()
                assert sheet[y + HEIGHT, x].tolist() == [255, 255, 255]
            label = sheet[y : y + HEIGHT, :LABEL]
            assert (label < 128).any()  # words
    assert (sheet[:TITLE, :LABEL] < 128).any()


def test_nothing_to_show_is_a_picture_too():
    assert contact_sheet({}).size[1] == 1
