"""The methods by which a modality is made when a data set has neither frames nor recordings of it: one table.

A method either computes (from the RGB videos, or from joints), or imports what another program wrote. To add
one: a name in the `Literal` of its modality, a line in `METHODS`, and its code, either in
`litemkd.data.importing` (no network) or as an estimator of `litemkd.stages.build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FlowMethod = Literal["dis", "raft", "raft_small", "flownet2"]
DepthMethod = Literal["depth_anything", "adabins"]
SkeletonMethod = Literal["keypoint_rcnn", "joints", "alphapose"]
MethodName = Literal[FlowMethod, DepthMethod, SkeletonMethod]
NetworkName = Literal["raft", "raft_small", "depth_anything", "keypoint_rcnn"]


@dataclass(frozen=True)
class Method:
    """One line of the table.

    Attributes:
        modality: that it makes.
        source: folder below the data source that it is made from.
        needs_videos: whether the RGB videos must be there too.
        encoding: of the pictures, as `prepare.json` notes it: `flow_xy`, `near_bright` or `rgb`.
        about: in a few words.
    """

    modality: str
    source: str
    encoding: str
    about: str
    needs_videos: bool = False


METHODS: dict[str, Method] = {
    "dis": Method("flow", "videos", "flow_xy", "optical flow by DIS, from the RGB videos"),
    "raft": Method("flow", "videos", "flow_xy", "RAFT, the large network"),
    "raft_small": Method("flow", "videos", "flow_xy", "RAFT, the small network"),
    "flownet2": Method("flow", "flow_flo", "flow_xy", ".flo files of FlowNet2"),
    "depth_anything": Method("depth", "videos", "near_bright", "Depth Anything V2"),
    "adabins": Method("depth", "depth_maps", "near_bright", "depth maps of AdaBins"),
    "joints": Method("skeleton", "skeleton_joints", "rgb", "bones drawn from joint positions"),
    "keypoint_rcnn": Method("skeleton", "videos", "rgb", "Keypoint R-CNN"),
    "alphapose": Method("skeleton", "alphapose", "rgb", "results of AlphaPose", needs_videos=True),
}
# Those that need weights: `data.weights.<name>`.
NETWORKS: tuple[str, ...] = get_args(NetworkName)
# What a modality's bare name stands for in `prepare --derive`.
USUAL = {"flow": "dis", "depth": "depth_anything", "skeleton": "keypoint_rcnn"}


def methods_of(modality: str) -> tuple[str, ...]:
    """The names of the methods that make a modality; none for rgb."""
    return tuple(name for name, method in METHODS.items() if method.modality == modality)


def parse_derive(words: str) -> tuple[dict[str, str], list[str]]:
    """What `flow,depth=adabins` asks for: the method by modality; and what is wrong, a line a mistake."""
    chosen: dict[str, str] = {}
    problems = []
    for word in filter(None, (word.strip() for word in words.split(","))):
        modality, equals, method = (part.strip() for part in word.partition("="))
        would = ", ".join(methods_of(modality))
        if not would:
            problems.append(f"--derive {word}: {modality!r} is not derived; {', '.join(USUAL)} would do")
        elif equals and method not in methods_of(modality):
            problems.append(f"--derive {word}: {modality} is not made by {method!r}; {would} would do")
        elif modality in chosen:
            problems.append(f"--derive {word}: {modality} stands there twice; once would do")
        else:
            chosen[modality] = method or USUAL[modality]
    return chosen, problems
