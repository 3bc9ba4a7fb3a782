"""The configuration: what can be set, its defaults (the published settings), and how mistakes are told.

An experiment is a short YAML file of overrides of these defaults; `--set key=value` overrides the file. All
mistakes are reported at once, each with the key, what was given, and what would do.
"""

from __future__ import annotations

from litemkd.config.loading import load_config
from litemkd.config.loss import LossConfig
from litemkd.config.sections import (
    BackboneConfig,
    BackboneName,
    Config,
    ExpertConfig,
    HeadConfig,
    OwnExpert,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
    digest_of,
    every_key,
    flatten,
)
from litemkd.config.words import WordsConfig

__all__ = [
    "BackboneConfig",
    "BackboneName",
    "Config",
    "ExpertConfig",
    "HeadConfig",
    "LossConfig",
    "OwnExpert",
    "StudentConfig",
    "TeacherConfig",
    "TrainConfig",
    "WordsConfig",
    "digest_of",
    "every_key",
    "flatten",
    "load_config",
]
