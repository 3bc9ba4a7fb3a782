"""A closer look at what a student does: one episode, the clips that it mistakes, which frames matter, a map.

All of it is made of what an evaluation has: features of the backbone, and logits of its episodes. Only covered
frames (`Look.worth`) go through the backbone anew.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litemkd.data.episodes import Episodes, EpisodeSampler
from litemkd.data.packs.arrays import Source
from litemkd.evaluation.accuracy import Evaluation
from litemkd.models.folding import EvaluationForm
from litemkd.models.student import Student

COUNTED = 2000  # episodes whose mistakes are counted by clip
MAPPED = 500  # clips of a map
KEPT = 32  # maps that are kept, the last ones that were asked for
_MAPS: dict[bytes, np.ndarray] = {}  # by their features
_ASKED = 3  # times that a clip was asked for, before its mistakes count


@dataclass(frozen=True)
class Look:
    """One query of an episode, and what the student saw in it.

    Attributes:
        number: of the episode.
        classes: names of the W classes.
        support, labels: (S,) rows of the split, and their classes.
        query, label: row of the split, and its class.
        logits: (W,).
        meets: (S, T, T), how much each frame of the query is matched with each one of the supports; None of a
            head that does not match frames.
        worth: (T,), by how much the margin of the true class over the best other one falls when this frame of
            the query is covered; the larger, the more it mattered.
    """

    number: int
    classes: tuple[str, ...]
    support: np.ndarray
    labels: np.ndarray
    query: int
    label: int
    logits: np.ndarray
    meets: np.ndarray | None
    worth: np.ndarray

    @property
    def right(self) -> bool:
        """Whether the query was named rightly."""
        return int(self.logits.argmax()) == self.label


@dataclass(frozen=True)
class Mistaken:
    """A clip that is named wrongly.

    Attributes:
        video: row of the split.
        asked, wrong: how often it was asked for, and named wrongly.
        instead: the class that it was mostly taken for.
    """

    video: int
    asked: int
    wrong: int
    instead: str


def look_at(student: Student, clips: Source, sampler: EpisodeSampler, number: int, query: int = 0) -> Look:
    """One query of an episode.

    Args:
        student: in eval mode.
        clips: of the sampler's split.
        sampler: of the episode.
        number: of the episode.
        query: which of its queries.

    Raises:
        ValueError: the student is in training mode.
    """
    episode = sampler[number]
    label, asked = int(episode.query_labels[0, query]), int(episode.query[0, query])
    frames = clips.centred(np.concatenate([episode.support[0], [asked]]))  # (S + 1, T, ...)
    covered = _covered(frames[-1])  # (T, T, ...)
    form = EvaluationForm(student)
    with torch.inference_mode():
        features = form.backbone(torch.cat([frames, covered])).float()
        supports, queries = features[: len(episode.support[0])][None], features[len(episode.support[0]) :][None]
        labels = torch.from_numpy(episode.support_labels).to(features.device)
        logits = form.match(form.encode(supports), labels, form.encode(queries), episode.way)[0]  # (1 + T, W)
        meets = _meets(student, supports, labels, queries[:, :1], episode.way)
    margins = _margin(logits, label).cpu().numpy()
    return Look(
        number,
        tuple(sampler.split.classes[one] for one in episode.classes[0]),
        episode.support[0],
        episode.support_labels[0],
        asked,
        label,
        logits[0].cpu().numpy(),
        meets,
        margins[0] - margins[1:],
    )


def telling(evaluation: Evaluation) -> list[tuple[int, int]]:
    """Episodes and queries to look at: the first one named rightly and the first one named wrongly."""
    right = evaluation.logits.argmax(-1) == evaluation.labels
    found = (np.argwhere(one) for one in (right, ~right))
    return [(int(places[0][0]), int(places[0][1])) for places in found if len(places)]


def mistaken(evaluation: Evaluation, sampler: EpisodeSampler, most: int) -> list[Mistaken]:
    """The clips that were named wrongly most often, by share of the times they were asked for.

    Args:
        evaluation: of the episodes 0, 1, 2, … of the sampler, whose first ones are counted.
        sampler: of its episodes.
        most: how many clips.
    """
    count = min(COUNTED, len(evaluation.logits))
    if not count:
        return []
    episodes: Episodes = sampler[range(count)]
    said = np.take_along_axis(episodes.classes, evaluation.logits[:count].argmax(-1), axis=1)  # (n, Q)
    answers = np.zeros((len(sampler.split.videos), len(sampler.split.classes)), np.int64)
    np.add.at(answers, (episodes.query.ravel(), said.ravel()), 1)
    asked = answers.sum(1)
    answers[np.arange(len(answers)), sampler.split.labels] = 0  # mistakes are left
    wrong = answers.sum(1)
    share = np.where(asked >= _ASKED, wrong / np.maximum(asked, 1), 0)
    order = np.lexsort((-wrong, -share))[:most]
    return [
        Mistaken(int(one), int(asked[one]), int(wrong[one]), sampler.split.classes[int(answers[one].argmax())])
        for one in order
        if share[one] > 0
    ]


def spread_out(count: int, most: int = MAPPED) -> np.ndarray:
    """Rows of a list of so many, evenly spread where there are more than `most`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def flat_map(features: np.ndarray) -> np.ndarray:
    """Places (V, 2) on a map where clips of like features (V, T, D) lie near one another; the same each time.

    t-SNE (van der Maaten and Hinton, 2008) of all frames in their order, less what all clips have in common. A
    map is made once: the reports of all students of a teacher show its features.
    """
    features = np.ascontiguousarray(features)
    key = hashlib.sha256(features.data).digest() + repr((features.shape, features.dtype)).encode()
    found = _MAPS.pop(key) if key in _MAPS else _made_map(features)
    _MAPS[key] = found  # as the newest
    if len(_MAPS) > KEPT:
        del _MAPS[next(iter(_MAPS))]
    return found


def _made_map(features: np.ndarray) -> np.ndarray:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    whole = features.reshape(len(features), -1)
    whole = whole - whole.mean(0)
    if len(whole) < 4:  # too few to have neighbours
        return np.pad(whole[:, :2], ((0, 0), (0, max(0, 2 - whole.shape[1]))))
    fewer = PCA(min(50, *whole.shape), random_state=0).fit_transform(whole)
    nearest = min(30.0, (len(whole) - 1) / 3)
    found: np.ndarray = TSNE(2, perplexity=nearest, init="pca", max_iter=500, random_state=0).fit_transform(
        fewer
    )
    return found


def _covered(clip: Tensor) -> Tensor:
    """A clip (T, ...) as often as it has frames, each time with another one replaced by the clip's mean."""
    copies = clip[None].repeat(len(clip), *[1] * clip.ndim)  # (T, T, ...)
    places = torch.arange(len(clip), device=clip.device)
    copies[places, places] = clip.mean(tuple(one for one in range(clip.ndim) if one != 1), keepdim=True)[0]
    return copies


def _margin(logits: Tensor, label: int) -> Tensor:
    """(N, W) -> (N,) the true class's logit less the best other one."""
    others = logits.clone()
    others[:, label] = -torch.inf
    return logits[:, label] - others.amax(-1)


def _meets(student: Student, support: Tensor, labels: Tensor, query: Tensor, way: int) -> np.ndarray | None:
    """`Look.meets` by the mean over the branches, of features (1, S, T[, places], C) and (1, 1, T[, …], C)."""
    found = []
    held, asked = student.branch_features(support), student.branch_features(query)
    for name in student.branches:
        codes = (student.head.encode(one[name]) for one in (held, asked))
        supports, queries = codes
        found.append(student.head.meet(supports, labels, queries, way))
    several = [one for one in found if one is not None]
    return torch.stack(several).mean(0)[0, 0].cpu().numpy() if several else None
