"""The toy data set: action videos made by the software itself in seconds."""

from litemkd.data.toy.dataset import ToySettings, make_clip, make_toy, toy_classes

__all__ = ["ToySettings", "make_clip", "make_toy", "toy_classes"]
