"""words: features of the names of classes by a text tower, kept on disk; or none, where names say nothing."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from litemkd.config import WordsConfig
from litemkd.data.class_words import class_words
from litemkd.errors import BackboneError, ConfigError, DataError, some
from litemkd.models.text_towers import TextTower, prompt_features, text_tower
from litemkd.runtime.distributed import from_main
from litemkd.stages.build import refuse_other_width
from litemkd.stages.setup import Setup
from litemkd.storage.array_cache import ArrayCache

log = logging.getLogger(__name__)

KEPT = 16  # sets of features


def heard(setup: Setup) -> Setup:
    """The setup, without its section `teacher.words` where the names of its classes say nothing, which is told.

    Raises:
        ConfigError: some classes have words and others do not; or words for a class that there is not.
    """
    config = setup.config
    if config.teacher.words is None or _spoken(setup, config.teacher.words) is not None:
        return setup
    names = some([name for split in setup.data.splits.values() for name in split.classes])
    log.warning(
        "teacher.words: off, the names of the classes (%s) say nothing; teacher.words.names would do, with "
        "words for each of them",
        names,
    )
    silent = config.teacher.model_copy(update={"words": None})
    return replace(setup, config=config.model_copy(update={"teacher": silent}))


def refuse_other_names(setup: Setup) -> None:
    """Check, before anything is trained, that features of names are there and as wide as those of frames.

    Raises:
        ConfigError: they are not. (Features on disk are looked at when they are read.)
    """
    teacher = setup.config.teacher
    if teacher.words is not None:
        tower = text_tower_of(teacher.words)
        if teacher.experts == "train":
            refuse_other_width(teacher, setup.config.data.frames, tower.width)


def text_tower_of(words: WordsConfig) -> TextTower:
    """The text tower of a section.

    Raises:
        ConfigError: files that are missing, or of another network.
    """
    try:
        return text_tower(words.use, words.weights)
    except BackboneError as error:
        raise _of_section(error) from error


def _of_section(error: BackboneError) -> ConfigError:
    return ConfigError([f"teacher.words.{error.setting}: {error.given} given; {error.would}"])


def name_digest(setup: Setup) -> str:
    """A digest of all that the features of names depend on."""
    words = _section(setup)
    return _digest(setup, words, text_tower_of(words))


def name_features(setup: Setup) -> dict[str, Tensor]:
    """Of each split (V, D): for each video the feature of its class's name, for a teacher that hears names.

    Errors are those of `heard` and `text_tower_of`.
    """
    words = _section(setup)
    spoken = _spoken(setup, words)
    if spoken is None:
        raise ConfigError(
            [
                "teacher.words.names: none given, the teacher hears names, and those of these classes say "
                "nothing; words for each of them would do"
            ]
        )
    rows = {name: row for row, name in enumerate(spoken)}
    features = _features(setup, words, list(spoken.values()))
    return {
        split.name: features[[rows[split.classes[label]] for label in split.labels]].to(setup.device)
        for split in setup.data.splits.values()
    }


def _section(setup: Setup) -> WordsConfig:
    words = setup.config.teacher.words
    assert words is not None  # which those who ask for features of names know
    return words


def _spoken(setup: Setup, words: WordsConfig) -> dict[str, str] | None:
    try:
        classes = [name for split in setup.data.splits.values() for name in split.classes]
        return class_words(classes, words.names)
    except DataError as error:
        raise ConfigError([f"teacher.words.names: {error}"]) from error


@from_main
def _features(setup: Setup, words: WordsConfig, spoken: list[str]) -> Tensor:
    tower = text_tower_of(words)
    cache = ArrayCache(setup.config.dataset_dir / "embeddings" / "words", keep=KEPT)

    def fill(array: np.ndarray) -> None:
        log.info("words: %d names through %s", len(spoken), words.use)
        try:
            found = prompt_features(tower, words.templates, spoken, setup.device)
        except BackboneError as error:
            raise _of_section(error) from error
        array[:] = found.numpy()

    kept = cache.array(f"names-{_digest(setup, words, tower)}", (len(spoken), tower.width), fill)
    return torch.from_numpy(np.array(kept))


def _digest(setup: Setup, words: WordsConfig, tower: TextTower) -> str:
    about = (words.use, tower.identity(), words.templates, sorted((_spoken(setup, words) or {}).items()))
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]
