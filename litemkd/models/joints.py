"""An expert of joints: a small graph network on the body, then convolutions over time.

Joints pass what they know along bones, by three matrices that start as those of ST-GCN (Yan et al., Spatial
temporal graph convolutional networks for skeleton-based action recognition, AAAI 2018) and are learned, as in
ST-GCN++ (Duan et al., PYSKL, ACM MM 2022). What joints and bones are and how they move come in together.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from litemkd.extending.declared import About
from litemkd.modalities.layouts import LAYOUTS, Layout, LayoutName, layout_of
from litemkd.models.experts import ArrayExpert
from litemkd.models.series import OverTime, changes, check_steps

Stream = Literal["joint", "bone", "joint_motion", "bone_motion", "confidence"]
STREAMS: tuple[Stream, ...] = ("joint", "bone", "joint_motion", "bone_motion")
CHANNELS: dict[Stream, int] = {**dict.fromkeys(STREAMS, 3), "confidence": 1}
BONES, MOTION = 2.0, 4.0  # so that all streams are numbers of about one size
GRAPH_CHANNELS = 24  # of a joint in the graph network
STRETCH = 0.2  # of a training clip along each axis, plus or minus


def body_graph(layout: Layout) -> Tensor:
    """The three matrices of ST-GCN's spatial partition, (3, J, J): row i says what joint i takes from others.

    Itself; its neighbours that are as near to the hips or nearer; those that are farther. Rows are means.
    """
    hops = layout.hops
    away = hops[list(layout.hips)].min(0)
    near = hops == 1
    farther = away[None, :] > away[:, None]
    parts = np.stack([hops == 0, near & ~farther, near & farther]).astype(np.float32)
    return torch.from_numpy(parts / np.maximum(parts.sum(2, keepdims=True), 1.0))


class JointMix(nn.Linear):
    """What each joint takes from others, in three ways: J joints to 3 J mixtures of them.

    Args:
        graph: (3, J, J), to begin with.
    """

    def __init__(self, graph: Tensor) -> None:
        ways, joints, _ = graph.shape
        super().__init__(joints, ways * joints, bias=False)
        with torch.no_grad():
            self.weight.copy_(graph.flatten(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(J, N, C) -> (J, N, 3 C)."""
        joints, n, channels = x.shape
        mixed = (self.weight @ x.flatten(1)).view(-1, joints, n, channels)
        return torch.cat(list(mixed), dim=-1)


class GraphBlock(nn.Module):
    """One graph convolution with batch norm, and the way past it.

    Args:
        graph: see `body_graph`.
        come, go: channels before and after.
        dropout: behind it.
    """

    def __init__(self, graph: Tensor, come: int, go: int, dropout: float) -> None:
        super().__init__()
        self.mix = JointMix(graph)
        self.mend = nn.Linear(graph.shape[0] * come, go, bias=False)
        self.norm = nn.BatchNorm1d(go)
        self.past = nn.Identity() if come == go else nn.Linear(come, go)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(J, N, C) -> (J, N, D)."""
        taken = self.mend(self.mix(x))
        normed = self.norm(taken.flatten(0, 1)).view_as(taken)
        out: Tensor = self.dropout(torch.relu(normed + self.past(x)))
        return out


class JointGraph(ArrayExpert):
    """Joints (S, J, 4), as `litemkd.modalities.joints` has them, to features of T frames.

    Two ways through time stand side by side: of the body as a whole, after graph convolutions and the maximum
    over its joints, which does not mind which limb does it; and of every joint's own numbers, which does.

    Args:
        frames: T.
        layout: of the joints, a name of `LAYOUTS`.
        streams: what the network sees: places, bones (a joint from its neighbour towards the hips), and how
            both change from step to step; and how sure joints are.
        width: D; each way makes half of it.
        layers: convolutions over time of each way.
        dropout: behind each of them; a third of it behind graph convolutions.
        steps: S, that a clip is brought to.
        turn: largest turn of a training clip about the vertical, degrees.

    Raises:
        ValueError: fewer steps than T, or an odd width.
    """

    window = 0.2
    parents: Tensor

    def __init__(
        self,
        *,
        frames: int,
        layout: Annotated[LayoutName, About("of the joints")] = "kinect20",
        streams: Annotated[tuple[Stream, ...], About("what it sees", count=1)] = STREAMS,
        width: Annotated[int, About("D, even", above=0)] = 128,
        layers: Annotated[int, About("convolutions over time", above=0)] = 3,
        dropout: Annotated[float, About("behind each of them", least=0, below=1)] = 0.3,
        steps: Annotated[int, About("that a clip is brought to", above=0)] = 32,
        turn: Annotated[float, About("of training clips, at most, degrees", least=0, most=180)] = 30.0,
    ) -> None:
        super().__init__()
        check_steps(steps, frames)
        if width % 2:
            raise ValueError(f"width: {width} given; an even number would do")
        self.layout, self.streams, self.width, self.turn = LAYOUTS[layout], tuple(streams), width, turn
        joints = self.layout.joints
        self.takes = (steps, joints, 4)
        channels, graph = sum(CHANNELS[one] for one in self.streams), body_graph(self.layout)
        self.register_buffer("parents", torch.from_numpy(self.layout.parents), persistent=False)
        self.norm = nn.BatchNorm1d(joints * channels)
        self.graph = nn.Sequential(
            GraphBlock(graph, channels, GRAPH_CHANNELS, dropout / 3),
            GraphBlock(graph, GRAPH_CHANNELS, GRAPH_CHANNELS, dropout / 3),
        )
        self.of_body, self.of_joints = (
            OverTime(come, width // 2, layers=layers, steps=steps, frames=frames, dropout=dropout)
            for come in (GRAPH_CHANNELS, joints * channels)
        )

    def features(self, clips: Tensor) -> Tensor:
        """(V, S, J, 4) -> (V, T, D)."""
        seen = self.norm(self.see(clips).flatten(2).transpose(1, 2))  # (V, J C, S)
        videos, steps, joints, _ = clips.shape
        by_joint = seen.unflatten(1, (joints, -1)).permute(1, 0, 3, 2).flatten(1, 2)  # (J, V S, C)
        body = self.graph(by_joint).amax(0).unflatten(0, (videos, steps))
        both = (self.of_body(body), self.of_joints(seen.transpose(1, 2)))
        return torch.cat([nn.functional.normalize(one, dim=-1) for one in both], dim=-1)

    def see(self, clips: Tensor) -> Tensor:
        """The streams of joints (V, S, J, 4), side by side: (V, S, J, C)."""
        joint, sure = clips[..., :3], clips[..., 3:]
        bone = BONES * (joint - joint[:, :, self.parents])
        streams = {"joint": joint, "bone": bone, "confidence": sure}
        moving = {"joint_motion": joint, "bone_motion": bone}
        streams |= {name: MOTION * changes(moving[name]) for name in moving if name in self.streams}
        return torch.cat([streams[name] for name in self.streams], dim=-1)

    def vary(self, clip: np.ndarray, rng: np.random.Generator, flip: bool) -> np.ndarray:
        """Turned about the vertical, stretched along each axis, and half of all mirrored where clips may be.

        Joints of pictures have no depth, and are not turned.
        """
        around, mirrored = rng.uniform(-self.turn, self.turn), rng.random() < 0.5
        stretch = rng.uniform(1.0 - STRETCH, 1.0 + STRETCH, 3)
        varied = clip.copy()
        if clip[..., 2].any():
            varied[..., :3] = turned(varied[..., :3], around)
        varied[..., :3] *= stretch
        return mirror(varied, self.layout) if flip and mirrored else varied

    def would(self, shape: tuple[int, ...]) -> str:
        """The layout with the joints of a frame (J, 4)."""
        return f"layout: {layout_of(shape[0]).name}"


def turned(places: np.ndarray, degrees: float) -> np.ndarray:
    """Places (..., 3) turned about the y axis, which is the vertical: a quarter turn brings z to x."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y, z = places[..., 0], places[..., 1], places[..., 2]
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=-1).astype(places.dtype)


def mirror(clip: np.ndarray, layout: Layout) -> np.ndarray:
    """Joints (..., J, 4) as in a mirror: x is negated, and left and right joints change places."""
    other = clip[..., layout.mirrored, :]
    other[..., 0] *= -1
    return other
