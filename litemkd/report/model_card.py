"""The model card of a registered version: what it is, what it was trained and measured on, and its limits.

A card says what the version's tags say. It is the version's description in MLflow, which shows it as Markdown.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from litemkd.report.tables import markdown_table

LONGEST = 5000  # characters that the store keeps of a description
_LONGEST_FACT = 700
_OWN = "\n---\n"  # below this line of a description stands what people have written
_TEACHER = re.compile(r"(?P<name>[\w.-]+) version (?P<number>\d+)")
_TEST = re.compile(r"litemkd\.test_accuracy_(\d+)shot")
_UNKNOWN = "not recorded"


def model_card(name: str, number: int | str, tags: Mapping[str, str]) -> str:
    """The card of a version, Markdown of at most `LONGEST` characters.

    Args:
        name: of the registered model.
        number: of the version, or what stands for it until it is known.
        tags: of the version, `litemkd.…`.
    """
    known = {key.removeprefix("litemkd."): value for key, value in tags.items()}
    student = "modalities" not in known
    rows = [
        ["Data", _data(known)],
        ["Classes of training", _fact(known.get("train_classes"))],
        ["Teacher", _teacher(known) if student else "none: this is one"],
        ["Protocol", _fact(known.get("protocol"))],
        ["Accuracy on val, which chooses", _accuracy(known, "val_accuracy")],
        *(
            [f"Accuracy on test, {shot}-shot", _accuracy(known, f"test_accuracy_{shot}shot")]
            for shot in _shots(tags)
        ),
        ["Cost", _cost(known)],
        ["Made by", _made_by(known)],
    ]
    if not _shots(tags):
        rows.insert(5, ["Accuracy on test", _accuracy(known, "test_accuracy")])
    parts = [
        f"# {_escaped(name)} version {number}",
        _what(known, student),
        markdown_table(["fact", "of this version"], rows).replace("---:", "---").strip(),
        "## How to load it",
        _loading(name, number, student),
        "## Limits",
        "\n".join(f"* {line}" for line in _limits(known, student)),
    ]
    return "\n\n".join(parts)[:LONGEST]


def with_card(description: str, card: str) -> str:
    """A description with the card in it: what people wrote stays, below a line, as far as there is room."""
    has_card = description.startswith("# ") and "\n## Limits\n" in description
    own = description.partition(_OWN)[2] if has_card else description
    return f"{card}\n{_OWN}{own}"[:LONGEST] if own.strip() else card


def _what(known: Mapping[str, str], student: bool) -> str:
    backbone, head = _code(known.get("backbone")), _code(known.get("head"))
    if student:
        how = {"true": "distilled from a teacher", "false": "trained on labels alone"}
        imported = known.get("imported") == "true"
        origin = (
            "of released weights" if imported else how.get(known.get("distilled", ""), "of unknown training")
        )
        if imported and "val_accuracy" not in known:
            origin += ", not measured yet"
        return (
            f"A light student for few-shot action recognition, {origin}: it sees RGB frames alone and names "
            f"clips from a few labelled examples of each class. Backbone {backbone}, head {head}."
        )
    origin = "Imported from released weights. " if known.get("imported") == "true" else ""
    missing = "" if "val_accuracy" in known else "It is not measured yet. "
    return (
        f"A teacher for few-shot action recognition on {_escaped(known['modalities'])}: an expert for each, "
        f"fused frame by frame. {origin}{missing}Backbone of the experts {backbone}, head {head}."
    )


def _data(known: Mapping[str, str]) -> str:
    if known.get("imported") == "true":
        return f"{_UNKNOWN}; registered for {_fact(known.get('dataset'))}"
    digest = known.get("data_digest")
    return f"{_fact(known.get('dataset'))}" + (f", digest {_code(digest)}" if digest else "")


def _teacher(known: Mapping[str, str]) -> str:
    teacher = known.get("teacher")
    if teacher is None:
        return "none: labels alone" if known.get("distilled") == "false" else _UNKNOWN
    found = _TEACHER.fullmatch(teacher)
    if found is None:
        return _fact(teacher)
    address = f"models:/{found['name']}/{found['number']}"
    return f"[{address}](#/models/{found['name']}/versions/{found['number']})"


def _shots(tags: Mapping[str, str]) -> list[int]:
    found = (_TEST.fullmatch(key) for key in tags)
    return sorted((int(one[1]) for one in found if one), reverse=True)


def _accuracy(known: Mapping[str, str], key: str) -> str:
    mean, half = _number(known.get(key)), _number(known.get(key.replace("accuracy", "accuracy_ci95")))
    if mean is None:
        return "not measured" if key.startswith("val") else "not read"
    return f"{mean:.2f} %" if half is None else f"{mean:.2f} ± {half:.2f} %"


def _cost(known: Mapping[str, str]) -> str:
    macs, params = _number(known.get("gmacs_per_episode")), _number(known.get("params_m"))
    facts = [f"{macs:.2f} GMACs an episode"] if macs is not None else []
    facts += [f"{params:.2f} million parameters"] if params is not None else []
    return ", ".join(facts) or _UNKNOWN


def _made_by(known: Mapping[str, str]) -> str:
    facts = [f"run {_code(known['run'])}"] if "run" in known else []
    facts += [f"seed {_escaped(known['seed'])}"] if "seed" in known else []
    if "study" in known:
        facts.append(f"trial {_escaped(known.get('trial', '?'))} of the study {_escaped(known['study'])}")
    if "source_file" in known:
        facts.append(f"file {_escaped(known['source_file'])}, sha256 {_code(known.get('source_sha256'))}")
    facts += [f"litemkd {_escaped(known['version'])}"] if "version" in known else []
    return ", ".join(facts) or _UNKNOWN


def _loading(name: str, number: int | str, student: bool) -> str:
    address = f"models:/{name}/{number}"
    variable = "student" if student else "teacher"
    lines = [
        "```python",
        "from litemkd.stages.build import load_model",
        "from litemkd.tracking import download",
        f'{variable} = load_model(download("{address}"))',
        "```",
    ]
    if student:
        lines += ["", f"or `litemkd predict --model {address} --support DIR --query DIR`."]
    return "\n".join(lines)


def _limits(known: Mapping[str, str], student: bool) -> list[str]:
    lines = []
    if known.get("chosen_on", "").strip().lower() == "test":
        lines.append("**Chosen on the test classes: its accuracies flatter it. It is not promoted.**")
    if known.get("imported") == "true":
        lines.append(
            "Others trained it. How its checkpoint was chosen is not known; the published code chooses on test "
            "classes."
        )
    if "study" in known:
        lines.append("Its settings are the best of many trials on val, so its val accuracy flatters it.")
    if student:
        lines += [
            "It needs labelled clips of every class that it is to tell apart, and often takes what is none of "
            f"them for one of them. {_chances(known)}",
            "With more classes, or fewer examples of each, than in the protocol it is less accurate.",
            _sees(known),
        ]
    else:
        lines.append("It needs every one of its modalities, made as in its training; students need RGB alone.")
    lines += [
        "Other cameras, places, people and kinds of action than those of its data were not measured.",
        "The intervals count test episodes. Another training, with another seed, differs by more.",
        "It tells actions apart, not persons: it is not for identifying or judging people.",
    ]
    return lines


def _chances(known: Mapping[str, str]) -> str:
    after, before = _number(known.get("test_ece")), _number(known.get("test_ece_uncalibrated"))
    if after is None or before is None:
        return "Its probabilities are not calibrated."
    return (
        f"Its probabilities are calibrated on val; on test their expected calibration error is {after:.1f} % "
        f"(uncalibrated {before:.1f} %)."
    )


def _sees(known: Mapping[str, str]) -> str:
    frames, crop, side = (_escaped(known.get(key, "?")) for key in ("frames", "crop", "short_side"))
    return (
        f"Of a clip it sees {frames} frames, evenly spread, resized to {side} pixels on the short side and cut "
        f"to the {crop} x {crop} in the middle: one action a clip, in the middle of the picture."
    )


def _fact(value: str | None) -> str:
    return _UNKNOWN if not value else _escaped(value)


def _escaped(text: str) -> str:
    """Words from outside in Markdown: nothing in them is a mark, a tag or a new line."""
    words = " ".join(text.split())
    words = words if len(words) <= _LONGEST_FACT else words[: _LONGEST_FACT - 1] + "…"
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", html.escape(words, quote=False))


def _code(value: str | None) -> str:
    """A name or digest from outside as code, with nothing but letters, digits and a few signs."""
    words = re.sub(r"[^\w.:+/-]+", " ", value or "").strip()[:80]
    return f"`{words}`" if words else _UNKNOWN


def _number(word: str | None) -> float | None:
    try:
        number = None if word is None else float(word)
    except ValueError:
        return None
    return number if number is not None and number - number == 0 else None
