"""The documents tell of every key of the configuration, every loss and every head."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from litemkd.config import Config, LossConfig
from litemkd.losses.presets import PRESETS
from litemkd.losses.term import NEEDS
from litemkd.models.catalogue import ALIASES, BACKBONES, HEAD_SETTINGS, TIMM, TORCHVISION
from litemkd.models.heads import HEADS

TEXT = (Path(__file__).parents[1] / "docs" / "config.md").read_text(encoding="utf-8")


def sections(section: BaseModel, prefix: str = "") -> dict[str, BaseModel]:
    """Every section by its dotted name; the whole is ``."""
    found = {prefix: section}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found |= sections(value, f"{prefix}.{name}".lstrip("."))
    return found


def documented() -> dict[str, dict[str, str]]:
    """By section: the defaults in the tables, by key. A heading may name several sections."""
    found: dict[str, dict[str, str]] = {}
    for heading, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL):
        rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", body, re.MULTILINE))
        names = re.findall(r"`([\w.]+)`", heading) or [""]
        found |= dict.fromkeys(names, rows)
    return found


def default(section: BaseModel, key: str) -> str:
    value = section.model_dump(mode="json").get(key, getattr(section, key))
    return "—" if value is None else f"`{value if isinstance(value, str) else json.dumps(value)}`"


@pytest.mark.parametrize("name", sections(Config()))
def test_every_key_and_its_default_are_documented(name: str) -> None:
    section, rows = sections(Config())[name], documented()[name]
    keys = {key for key in type(section).model_fields if not isinstance(getattr(section, key), BaseModel)}
    assert set(rows) == keys
    wrong = {key: default(section, key) for key in keys if rows[key] != default(section, key)}
    assert not wrong, f"docs/config.md, section {name or 'Top'}: defaults should read {wrong}"


def test_nothing_else_is_documented() -> None:
    assert set(documented()) == set(sections(Config()))


def test_every_loss_by_name_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "losses.md").read_text(encoding="utf-8")
    table = text[text.index("<!-- presets -->") : text.index("<!-- /presets -->")]
    rows = [re.findall(r"`([^`]+)`", line) for line in table.splitlines() if line.startswith("| `")]
    assert rows == [[name, *one.aliases] for name, one in PRESETS.items()]
    terms = set(re.findall(r"`(\w+)`", text))
    for field in ("kd_form", "support_form", "feature_form", "focal"):
        choices = set(get_args(LossConfig.model_fields[field].annotation)) - {"none"}
        assert choices <= terms, f"docs/losses.md does not tell of {field}: {choices - terms}"


def test_what_terms_say_of_their_settings_is_what_the_documents_say() -> None:
    (body,) = re.findall(r"^## `loss`\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    told = dict(re.findall(r"^\| `(\w+)` \| .*? \| .*? \| (.*) \|$", body, re.M))
    said = {
        key: field.description
        for key, field in LossConfig.model_fields.items()
        if field.description and key not in ("preset", "terms")
    }
    assert len(said) == 21
    assert {key: told[key] for key in said} == said


def test_everything_that_a_term_may_need_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "losses.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+_\w+)` \|", text[text.index("| need |") :], re.M) == list(NEEDS)


def test_every_head_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "heads.md").read_text(encoding="utf-8")
    assert set(HEADS) == set(HEAD_SETTINGS) == set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    assert all(f"**{name}.**" in text for name in HEADS)
    for name, settings in HEAD_SETTINGS.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*\| (.*?) \|$", text, re.M)
        assert set(re.findall(r"`(\w+)`", row)) == set(settings)


def test_every_backbone_is_documented() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `name` | `resnet")]
    assert len(rows) == 2  # the student's and the experts'
    for row in rows:
        assert re.findall(r"`(\w+)`", row)[2:] == [*BACKBONES, *ALIASES]
        assert re.findall(r"`(\w+):NAME`", row) == [TORCHVISION, TIMM]


def test_every_test_that_is_named_exists() -> None:
    """In docs/reliability.md: `file::name`, `::name` of the file before it, or a whole file or folder."""
    root = Path(__file__).parents[1]
    text = (root / "docs" / "reliability.md").read_text(encoding="utf-8")
    file, named = "", list[str]()
    for words in re.findall(r"`((?:tests/[\w/.]+)?(?:::\w+)?)`", text):
        file = words.partition("::")[0] or file
        assert not file or (root / file).exists(), words
        if name := words.partition("::")[2]:
            named.append(name)
            assert re.search(rf"^def {name}\(", (root / file).read_text(encoding="utf-8"), re.M), words
    assert len(named) > 40
    for path in sorted((root / "tests" / "faults").glob("test_*.py")):  # and nothing there goes untold
        tests = re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.M)
        assert f"`tests/faults/{path.name}`" in text or {name for name in tests if name in named}, path


def test_every_page_stands_in_the_navigation() -> None:
    docs = Path(__file__).parents[1] / "docs"
    listed: list[Path] = []
    for page in (docs / "index.md", *docs.glob("*/index.md")):
        text = page.read_text(encoding="utf-8")
        for names in re.findall(r"^```{toctree}\n(?::[^\n]*\n)*\n(.*?)^```", text, re.M | re.S):
            listed += [page.parent / name for name in names.split()]
    pages = {path.with_suffix("") for ending in ("md", "ipynb") for path in docs.rglob(f"*.{ending}")}
    missing = sorted(path.relative_to(docs).as_posix() for path in pages - set(listed) - {docs / "index"})
    assert not missing, f"in no navigation; a line for each in a list (toctree) of docs/index.md: {missing}"
    assert len(listed) == len(set(listed)), "a page stands in the navigation twice"
    assert set(listed) <= pages, f"no such page: {sorted(set(listed) - pages)}"
