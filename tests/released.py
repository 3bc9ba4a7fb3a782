"""Models laid out and named as the released ones, written from the formulas alone, and files of their weights.

Nothing of litemkd is used here: what these compute is what an imported file has to compute.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models as tv

FRAMES, WIDTH, HEAD = 8, 24, 20  # T; D and width of keys, which are 2048 and 1152 in real files


class Table(nn.Module):
    """The position table, over one and a half times the frames."""

    def __init__(self, width: int) -> None:
        super().__init__()
        table = torch.zeros(1, int(1.5 * FRAMES), width, dtype=torch.float64)
        for t, i in itertools.product(range(table.shape[1]), range(width)):
            angle = t * 10000 ** (-(i - i % 2) / width)
            table[0, t, i] = 0.1 * (math.cos(angle) if i % 2 else math.sin(angle))
        self.register_buffer("pe", table.float())


class Crossing(nn.Module):
    """One tuple size of TRX."""

    def __init__(self, width: int, size: int, head: int = HEAD) -> None:
        super().__init__()
        self.size = size
        self.pe = Table(width)
        self.k_linear = nn.Linear(width * size, head)
        self.v_linear = nn.Linear(width * size, head)
        self.norm_k = nn.LayerNorm(head)
        self.norm_v = nn.LayerNorm(head)

    def codes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (P, head) of one video (T, D)."""
        placed = features + self.pe.pe[0, : len(features)]
        tuples = [torch.cat([placed[t] for t in u]) for u in itertools.combinations(range(FRAMES), self.size)]
        rows = torch.stack(tuples)
        return self.norm_k(self.k_linear(rows)), self.v_linear(rows)

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """(S, T, D), (S,), (Q, T, D) -> logits (Q, W)."""
        way = int(labels.max()) + 1
        logits = torch.empty(len(query), way)
        for q, c in itertools.product(range(len(query)), range(way)):
            asked, own = self.codes(query[q])
            keys, values = zip(
                *(self.codes(x) for x, y in zip(support, labels, strict=True) if y == c), strict=True
            )
            weight = (asked @ torch.cat(keys).T / math.sqrt(asked.shape[1])).softmax(-1)
            logits[q, c] = -(own - weight @ torch.cat(values)).square().sum() / len(own)
        return logits


def pictures(name: str) -> nn.Module:
    return nn.Sequential(*list(getattr(tv, name)(weights=None).children())[:-2])


def wrapped(part: nn.Module, parallel: bool) -> nn.Module:
    """As several GPUs leave it: below `module`."""
    return nn.ModuleDict({"module": part}) if parallel else part


class StudentFile(nn.Module):
    """`backbone.resnet` or `backbone.mobile`, the linear layers of `branches`, `classifier.transformers`."""

    def __init__(self, name: str, branches: tuple[str, ...] = ("fc1", "fc2"), parallel: bool = False) -> None:
        super().__init__()
        features = pictures(name)
        channels = {"resnet18": 512, "resnet34": 512, "resnet50": 2048, "mobilenet_v3_small": 576}
        channels["mobilenet_v3_large"] = 960
        self.family, self.parallel, self.branches = name[:6], parallel, branches
        self.backbone = nn.ModuleDict({self.family: wrapped(features, parallel)})
        for branch in branches:
            self.backbone[branch] = nn.Linear(channels[name], WIDTH)
        self.classifier = nn.Module()
        self.classifier.transformers = Crossing(WIDTH if branches else channels[name], 2)

    def features(self, frames: Tensor) -> list[Tensor]:
        """(V, T, 3, H, W) in [0, 1] -> (V, T, D) of each branch."""
        part = self.backbone[self.family]
        maps = (part["module"] if self.parallel else part)(frames.flatten(0, 1))
        pooled = nn.functional.adaptive_max_pool2d(maps, 4).flatten(2).mean(-1).unflatten(0, frames.shape[:2])
        return [self.backbone[branch](pooled) for branch in self.branches] or [pooled]

    def forward(self, frames: Tensor, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """Logits (Q, W) of clips, given rows of supports and queries."""
        return sum(self.classifier.transformers(x[support], labels, x[query]) for x in self.features(frames))


class TrxFile(nn.Module):
    """TRX's own layout: `resnet`, `transformers.0`, `transformers.1`, …; the map is averaged."""

    def __init__(self, name: str, channels: int, sizes: tuple[int, ...], parallel: bool = False) -> None:
        super().__init__()
        self.parallel = parallel
        self.resnet = wrapped(pictures(name), parallel)
        self.transformers = nn.ModuleList(Crossing(channels, size) for size in sizes)

    def forward(self, frames: Tensor, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        maps = (self.resnet["module"] if self.parallel else self.resnet)(frames.flatten(0, 1))
        x = maps.mean((-2, -1)).unflatten(0, frames.shape[:2])
        logits = [part(x[support], labels, x[query]) for part in self.transformers]
        return torch.stack(logits).mean(0)


class Place(nn.Module):
    """Position embedding and norm of one modality."""

    def __init__(self) -> None:
        super().__init__()
        self.position_embeddings = nn.Embedding(FRAMES, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(x + self.position_embeddings.weight)


class Mixing(nn.Module):
    """One fusion path of some modalities."""

    def __init__(self, modalities: int, layers: int, inner: int) -> None:
        super().__init__()
        self.modalities = modalities
        for m in range(1, modalities + 1):
            setattr(self, f"positionEncoding{m}", Place())
        wide = modalities * WIDTH
        layer = nn.TransformerEncoderLayer(wide, modalities, dim_feedforward=inner, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.f1 = nn.Linear(wide, WIDTH)

    def forward(self, *streams: Tensor) -> Tensor:
        placed = [getattr(self, f"positionEncoding{m}")(x) for m, x in enumerate(streams, 1)]
        return self.f1(self.transformer_encoder(torch.cat(placed, -1)))


class TeacherFile(nn.Module):
    """`three_fusion`, `fusion`, `bracnch.transformers.0`, …"""

    def __init__(self, sizes: tuple[int, ...] = (2,), layers: int = 2, inner: int = 16) -> None:
        super().__init__()
        self.three_fusion, self.fusion = Mixing(3, layers, inner), Mixing(2, layers, inner)
        self.bracnch = nn.Module()
        self.bracnch.transformers = nn.ModuleList(Crossing(WIDTH, size) for size in sizes)

    def head(self) -> dict[str, Tensor]:
        """The weights of the head alone."""
        return {name: tensor for name, tensor in self.state_dict().items() if name.startswith("bracnch.")}

    def fuse(self, first: Tensor, second: Tensor, third: Tensor, next_of: tuple[bool, bool]) -> Tensor:
        """(V, T, D) each; `next_of` says of second and third whether frame t meets their frame t + 1."""
        later = [(t + 1) % FRAMES for t in range(FRAMES)]
        pairs = zip((second, third), next_of, strict=True)
        return self.three_fusion(first, second, third) + sum(
            self.fusion(first, other[:, later] if shifted else other) for other, shifted in pairs
        )

    def forward(self, fused: Tensor, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        logits = [part(fused[support], labels, fused[query]) for part in self.bracnch.transformers]
        return torch.stack(logits).mean(0)


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode, with weights and statistics drawn so that every one of them matters."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            module.weight.data.uniform_(0.7, 1.3, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            bound = 1.5 / math.sqrt(module.weight[0].numel())
            module.weight.data.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.data.uniform_(-0.2, 0.2, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.1, 0.4, generator=generator)
            module.num_batches_tracked.fill_(1234)
    return model.eval()


def write_file(path: Path, model: nn.Module, iteration: int = 70000, **more: object) -> Path:
    """The file of a model's weights, as the published code saves it."""
    torch.save({"iteration": iteration, "model_state_dict": model.state_dict(), **more}, path)
    return path


def episode(shot: int, way: int = 3, size: int = 72, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random clips in [0, 1]; rows of the supports, their shuffled classes, and rows of the queries."""
    generator = torch.Generator().manual_seed(seed)
    clips = way * shot + 2
    frames = torch.rand(clips, FRAMES, 3, size, size, generator=generator)
    frames *= torch.rand(clips, FRAMES, 3, 1, 1, generator=generator)  # clips that differ by more than noise
    rows = torch.randperm(clips, generator=generator)
    labels = torch.arange(way).repeat(shot)[torch.randperm(way * shot, generator=generator)]
    return frames, rows[2:], labels, rows[:2]
