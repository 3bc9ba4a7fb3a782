"""Registration and promotion of models, which wait on disk while the store is away."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from litemkd.distributed import from_main
from litemkd.tracking import promoting
from litemkd.tracking.outbox import StoreAwayError, outbox
from litemkd.tracking.promoting import Promotion
from litemkd.tracking.runs import Run


@from_main
def register_model(
    run: Run,
    directory: Path,
    registered_name: str,
    *,
    name: str,
    step: int,
    metrics: Mapping[str, float],
    tags: Mapping[str, Any],
    description: str = "",
) -> int | str:
    """Log a checkpoint as a model of a run and make it the next version of `registered_name`.

    Args:
        run: that made it.
        directory: folder of `weights.safetensors` and `model.json`; its files are replaced, never changed.
        registered_name: see `model_name`.
        name: of the model.
        step: episodes seen.
        metrics: that it reached, see `Run.log_model`.
        tags: of the model and of the version.
        description: of the version, Markdown; its number will be where `NUMBER` stands.

    Returns:
        The version's number. While the store is away a word that stands for it: it may be used in tags of
        runs, where the number will be.

    Raises:
        TrackingError: the folder is missing, or the store refused.
    """
    return run.register(
        directory, registered_name, name=name, step=step, metrics=metrics, tags=tags, description=description
    )


@from_main
def promote(registered_name: str) -> Promotion:
    """Move the aliases, see `promoting.promote`; while the store is away that waits too."""
    box = outbox()
    try:
        if box.flush():
            return box.now(lambda: promoting.promote(registered_name))
    except StoreAwayError:
        pass
    box.put("promote", name=registered_name)
    box.rest()
    words = f"{registered_name}: its aliases are moved when the tracking store answers (`litemkd sync`)"
    return Promotion(None, None, (words,))


def is_promise(version: int | str) -> bool:
    """Whether a version is not registered yet, see `register_model`."""
    return not isinstance(version, int)
