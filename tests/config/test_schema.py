"""The schema of experiment files: the shipped ones are right by it, mistakes are not, and editors find it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from jsonschema import Draft202012Validator

from litemkd.config.schema import schema_line
from litemkd.config.strict_yaml import read_mapping

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = sorted(EXPERIMENTS.rglob("*.yaml"))
SCHEMA = json.loads((EXPERIMENTS / "schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(SCHEMA)
    return Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(EXPERIMENTS).as_posix())
def test_shipped_files_are_right_and_name_it(path: Path, validator: Draft202012Validator) -> None:
    problems: list[str] = []
    values = read_mapping(path, problems)
    assert problems == []
    assert [error.message for error in validator.iter_errors(values)] == []
    (line,) = (one for one in path.read_text(encoding="utf-8").splitlines() if "yaml-language-server" in one)
    prefix = "# yaml-language-server: $schema="
    assert line.startswith(prefix)
    assert (path.parent / line.removeprefix(prefix)).resolve() == EXPERIMENTS / "schema.json"


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"student": {"widht": 3}}, ["student"]),
        ({"episode": {"way": 1}}, ["episode", "way"]),
        ({"data": {"crop_scale": [0.5]}}, ["data", "crop_scale"]),
        ({"student": {"backbone": {"pooling": "max"}}}, ["student", "backbone", "pooling"]),
        ({"data": {"classes": {"training": ["a"]}}}, ["data", "classes"]),
        ({"loss": {"temperature": 0}}, ["loss", "temperature"]),
        ({"base": 3}, ["base"]),
    ],
)
def test_mistakes_are_found_where_they_stand(
    validator: Draft202012Validator, values: dict[str, Any], place: list[str]
) -> None:
    (error,) = validator.iter_errors(values)
    assert list(error.path) == place


@pytest.mark.parametrize(
    "values",
    [
        {"student": {"backbone": {"name": "timm:convnext_atto"}, "head": {"name": "my_heads:Nearest"}}},
        {"loss": {"terms": {"lead": {"use": "my_terms:Margin", "weight": 0.5}}}},
        {"teacher": {"streams": {"joints": {"use": "joints"}}}},
        {"threads": None},
    ],
)
def test_what_is_ones_own_is_right(validator: Draft202012Validator, values: dict[str, Any]) -> None:
    assert list(validator.iter_errors(values)) == []


def test_editors_are_told_what_every_key_means_and_which_names_there_are() -> None:
    untold = [
        f"{name}.{key}"
        for name, section in {"": SCHEMA, **SCHEMA["$defs"]}.items()
        for key, about in section["properties"].items()
        if "description" not in about and "$ref" not in about and name != "OwnModality"
    ]
    assert untold == []
    backbone, head = (SCHEMA["$defs"][name]["properties"]["name"] for name in ("BackboneConfig", "HeadConfig"))
    assert {"conv4", "resnet18", "lite0"} <= set(backbone["anyOf"][0]["enum"])
    assert {"trx", "otam"} <= set(head["anyOf"][0]["enum"])


def test_a_file_anywhere_is_told_where_it_lies() -> None:
    address = schema_line().partition("$schema=")[2]
    assert Path(url2pathname(urlsplit(address).path)) == EXPERIMENTS / "schema.json"
