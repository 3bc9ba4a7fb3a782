"""What runs, models and versions are called in another store, and texts that name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ID = re.compile(r"\b(?:m-)?[0-9a-f]{32}\b")


class Names:
    """New ids and version numbers by the old ones, filled while they are made."""

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}
        self.models: dict[str, str] = {}
        self.versions: dict[tuple[str, int], int] = {}

    def translate(self, text: str) -> str:
        """A text with the run ids, model ids and versions (`models:/name/3`, `name version 3`) in it replaced.

        What is not known, another store's for instance, stays as it is.
        """
        text = _ID.sub(lambda found: self.runs.get(found[0]) or self.models.get(found[0], found[0]), text)
        names = "|".join(re.escape(name) for name in sorted({name for name, _ in self.versions}, key=len)[::-1])
        if not names:
            return text
        return re.sub(rf"(models:/|\b)({names})(/| version )(\d+)\b", self._version, text)

    def _version(self, found: re.Match[str]) -> str:
        before, name, between, number = found.groups()
        return f"{before}{name}{between}{self.versions.get((name, int(number)), number)}"

    def tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Tags with translated values."""
        return {key: self.translate(value) for key, value in tags.items()}

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What `run_values` should give for the run that was made of these."""
        tags = self.tags(values["tags"])
        return {
            **values,
            "run_id": self.runs[values["run_id"]],
            "name": self.translate(values["name"]),
            "tags": tags,
            "models_used": sorted(self.models.get(one, one) for one in values["models_used"]),
            "models_made": sorted([self.models.get(one, one), step] for one, step in values["models_made"]),
        }

    def model(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What `model_values` should give for the model that was made of these."""
        run_id = values["run_id"]
        return {
            **values,
            "model_id": self.models[values["model_id"]],
            "run_id": self.runs.get(run_id, run_id),
            "tags": self.tags(values["tags"]),
            "metrics": [
                {**one, "run_id": self.runs.get(one["run_id"], one["run_id"])} for one in values["metrics"]
            ],
        }

    def version(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """What `version_values` should give for the version that was made of these."""
        run_id, model_id = values["run_id"], values["model_id"]
        return {
            **values,
            "version": self.versions.get((name, values["version"]), values["version"]),
            "source": self.translate(values["source"]),
            "run_id": self.runs.get(run_id, run_id),
            "model_id": self.models.get(model_id, model_id),
            "description": self.translate(values["description"]),
            "tags": self.tags(values["tags"]),
        }
