"""Reading AlphaPose's results."""

import json

import numpy as np
import pytest

from litemkd.errors import DataError
from litemkd.modalities.alphapose import read_alphapose
from litemkd.modalities.skeleton import draw_people


def person(image: str, x: float = 0.0, *, score: float = 2.0, joints: int = 17, **changes) -> dict:
    """One entry as AlphaPose writes it: joint j at (x + j, 2 j), confidence 0.9 and, for joint 3, 0.1."""
    keypoints = [value for j in range(joints) for value in (x + j, 2.0 * j, 0.1 if j == 3 else 0.9)]
    box = {"box": [0, 0, 1, 1], "idx": [0.0]}
    return {
        "image_id": image,
        "category_id": 1,
        "keypoints": keypoints,
        "score": score,
        **box,
        **changes,
    }


def read(tmp_path, entries, n_frames=10):
    path = tmp_path / "a.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return read_alphapose(path, n_frames)


def test_people_by_frame_the_surest_first(tmp_path):
    people = read(tmp_path, [person("7.jpg", 5), person("2.jpg", 1, score=1.0), person("2.jpg", 3, score=2.5)])
    assert [len(frame) for frame in people] == [0, 0, 2, 0, 0, 0, 0, 1, 0, 0]
    assert [one[0, 0] for one in people[2]] == [3.0, 1.0]
    joints = people[7][0]
    assert joints.shape == (17, 3)
    assert joints[:, 0].tolist() == [5.0 + j for j in range(17)]
    assert joints[:, 1].tolist() == [2.0 * j for j in range(17)]
    assert joints[:, 2].tolist() == [1, 1, 1, 0] + [1] * 13


@pytest.mark.parametrize("joints", [26, 133, 136])
def test_of_larger_bodies_the_first_17_are_taken(tmp_path, joints):
    (found,) = read(tmp_path, [person("0.jpg", joints=joints)])[0]
    assert found.shape == (17, 3)
    assert found[16].tolist() == [16.0, 32.0, 1.0]


def test_frames_are_counted_from_0_or_from_1(tmp_path):
    assert len(read(tmp_path, [person("img_00009.png")])[9]) == 1
    people = read(tmp_path, [person("img_00001.png"), person("img_00010.png")])
    assert [len(frame) for frame in people] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    with pytest.raises(DataError, match=r"a\.json has people in frame 11, but its video has 10 frames"):
        read(tmp_path, [person("11.jpg")])
    with pytest.raises(DataError, match="has people in frame 0 and in frame 10, but its video has 10 frames"):
        read(tmp_path, [person("0.jpg"), person("10.jpg")])


def test_nobody_and_other_categories(tmp_path):
    assert read(tmp_path, [], 3) == [[], [], []]
    assert read(tmp_path, [person("1.jpg", category_id=2)], 3) == [[], [], []]


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ("[{", r"cannot read AlphaPose's results .*a\.json: "),
        ({"0.jpg": []}, r"a\.json holds a dict; AlphaPose's default form, a list of people, is needed"),
        ([3], r"entry 0 is not a person of AlphaPose \('int' object .*\); image_id, keypoints and score"),
        ([{"image_id": "1.jpg"}], r"entry 0 is not a person of AlphaPose \(no 'keypoints'\)"),
        ([person("0.jpg"), person("a.jpg")], r"entry 1 .*\(image_id 'a\.jpg' has no number\)"),
        ([person("0.jpg", joints=18)], r"keypoints of shape \(54,\); 3 numbers for each of 17, 26, 133, 136"),
        ([person("0.jpg", keypoints=[float("nan")] * 51)], r"values that are not numbers"),
        ([person("0.jpg", keypoints="x")], r"entry 0 is not a person of AlphaPose \(could not convert"),
    ],
)
def test_other_contents_are_told(tmp_path, entries, told):
    with pytest.raises(DataError, match=told):
        read(tmp_path, entries)


def test_people_are_drawn_where_they_stand():
    assert not draw_people([], (20, 30)).any()
    left, right = np.zeros((17, 3), np.float32), np.zeros((17, 3), np.float32)
    for one, x in ((left, 5.0), (right, 25.0)):
        one[5], one[7] = (x, 2, 1), (x, 17, 1)  # an upper arm
    picture = draw_people([left, right], (20, 30))
    columns = np.nonzero(picture.any((0, 2)))[0]
    assert {4, 5, 6} >= set(columns[columns < 15].tolist()) >= {5}
    assert {24, 25, 26} >= set(columns[columns > 15].tolist()) >= {25}
    assert (picture[8, 5] == picture[8, 25]).all()  # one bone, one colour
    left[5, 2] = 0
    assert not draw_people([left], (20, 30)).any()
