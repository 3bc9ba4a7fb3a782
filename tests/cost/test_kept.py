"""Costs are measured once: by what they are of, by the code and by the libraries; and never half-kept."""

import json

import pytest

from litemkd.cost import kept as module
from litemkd.cost.kept import kept


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LITEMKD_CACHE", str(tmp_path))
    return tmp_path / "costs"


class Counted:
    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return {"figure": 0.1 * self.times}


def test_the_same_is_measured_once_and_again_when_asked(folder):
    measure = Counted()
    first = kept({"student": "a", "frames": 8}, measure)
    assert kept({"frames": 8, "student": "a"}, measure) == first == {"figure": 0.1}
    assert kept({"student": "b", "frames": 8}, measure) == {"figure": 0.2}
    assert kept({"student": "a", "frames": 8}, measure, again=True) == {"figure": pytest.approx(0.3)}
    assert kept({"student": "a", "frames": 8}, measure) == {"figure": pytest.approx(0.3)}
    assert measure.times == 3
    assert len(list(folder.iterdir())) == 2


def test_other_code_or_libraries_are_measured_anew(monkeypatch):
    measure = Counted()
    kept({}, measure)
    monkeypatch.setattr(module, "_code", lambda: "another digest")
    kept({}, measure)
    assert measure.times == 2


@pytest.mark.parametrize("broken", ["", "[]", '{"values": ', '{"values": {"figure": 1}}'])
def test_a_broken_record_is_measured_anew(folder, broken):
    measure = Counted()
    kept({}, measure)
    (path,) = folder.iterdir()
    path.write_text(broken)
    assert kept({}, measure) == {"figure": 0.2}
    assert json.loads(path.read_text())["values"] == {"figure": 0.2}


def test_a_folder_that_cannot_be_made_is_told(folder, caplog):
    folder.parent.joinpath("costs").write_text("a file")
    assert kept({}, Counted()) == {"figure": 0.1}
    assert "cannot be kept" in caplog.text
