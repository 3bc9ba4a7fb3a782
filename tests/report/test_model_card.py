"""A model card says what the version's tags say, whatever is in them."""

from __future__ import annotations

from litemkd.report.model_card import LONGEST, model_card, with_card

TAGS = {
    "litemkd.dataset": "toy",
    "litemkd.data_digest": "0123abcd",
    "litemkd.train_classes": "2: wave_high, bow",
    "litemkd.backbone": "conv4",
    "litemkd.head": "trx",
    "litemkd.distilled": "true",
    "litemkd.teacher": "litemkd-toy-teacher version 7",
    "litemkd.protocol": "5-way 5-shot, 8 frames",
    "litemkd.val_accuracy": "61.2345",
    "litemkd.val_accuracy_ci95": "0.4012",
    "litemkd.test_accuracy": "67.6800",
    "litemkd.test_accuracy_ci95": "0.4200",
    "litemkd.test_accuracy_1shot": "52.3600",
    "litemkd.test_accuracy_ci95_1shot": "0.4300",
    "litemkd.test_accuracy_5shot": "67.6800",
    "litemkd.test_accuracy_ci95_5shot": "0.4200",
    "litemkd.gmacs_per_episode": "1.550000",
    "litemkd.params_m": "0.230000",
    "litemkd.frames": "8",
    "litemkd.crop": "56",
    "litemkd.short_side": "64",
    "litemkd.run": "cafe",
}


def rows(card: str) -> dict[str, str]:
    lines = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {line[0]: line[1] for line in lines[2:]}


def test_a_student() -> None:
    card = model_card("litemkd-toy-student", 3, TAGS)
    assert card.startswith(
        "# litemkd-toy-student version 3\n\nA light student for few-shot action recognition, distilled"
    )
    assert rows(card) == {
        "Data": "toy, digest `0123abcd`",
        "Classes of training": r"2: wave\_high, bow",
        "Teacher": "[models:/litemkd-toy-teacher/7](#/models/litemkd-toy-teacher/versions/7)",
        "Protocol": "5-way 5-shot, 8 frames",
        "Accuracy on val, which chooses": "61.23 ± 0.40 %",
        "Accuracy on test, 5-shot": "67.68 ± 0.42 %",
        "Accuracy on test, 1-shot": "52.36 ± 0.43 %",
        "Cost": "1.55 GMACs an episode, 0.23 million parameters",
        "Made by": "run `cafe`",
    }
    assert 'student = load_model(download("models:/litemkd-toy-student/3"))' in card
    assert (
        "it sees 8 frames, evenly spread, resized to 64 pixels on the short side and cut to the 56 x 56" in card
    )
    assert len(card) < LONGEST


def test_what_is_not_known_is_said() -> None:
    imported = {"litemkd.imported": "true", "litemkd.backbone": "resnet18", "litemkd.head": "trx"}
    card = model_card("litemkd-ucf101-student", 1, imported)
    assert "of released weights, not measured yet" in card
    assert rows(card)["Accuracy on test"] == "not read"
    assert rows(card)["Accuracy on val, which chooses"] == "not measured"
    assert "the published code chooses on test classes" in card
    trial = model_card("litemkd-toy-student", 1, {"litemkd.study": "s", "litemkd.trial": "4"})
    assert "trial 4 of the study s" in trial
    assert "best of many trials on val" in trial
    teacher = model_card(
        "litemkd-toy-teacher", 1, {"litemkd.modalities": "rgb+flow", "litemkd.chosen_on": "Test"}
    )
    assert "A teacher for few-shot action recognition on rgb+flow" in teacher.replace("\\", "")
    assert "Chosen on the test classes" in teacher


def test_names_from_outside_are_words() -> None:
    evil = "a | b\n# big <script>alert(1)</script> [x](javascript:y) `c` " + "long " * 400
    card = model_card("m", 1, dict.fromkeys(TAGS, evil) | {"litemkd.modalities": evil})
    assert "<script" not in card
    assert "\n# big" not in card
    assert "](javascript" not in card
    assert len(card) <= LONGEST
    assert {len(line.replace(r"\|", "").split("|")) for line in card.splitlines() if line.startswith("|")} == {
        4
    }


def test_what_people_wrote_stays() -> None:
    first, second = model_card("m", 1, TAGS), model_card("m", 1, TAGS | {"litemkd.seed": "5"})
    assert with_card("", first) == first
    assert with_card(first, second) == second
    noted = with_card("Used in the hall.", first)
    assert noted.startswith(first)
    assert noted.endswith("\n---\nUsed in the hall.")
    assert with_card(noted, second) == second + noted.removeprefix(first)
