"""An evaluation that several processes share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from litemkd.data.episodes import EpisodeSampler
from litemkd.distributed import gather, group
from litemkd.evaluation import Classifier, Evaluation, evaluate


def evaluate_shared(
    classify: Classifier, sampler: EpisodeSampler, numbers: Sequence[int], *, progress: str | None = None
) -> Evaluation:
    """`evaluate`, every process a part of the episodes in a row; all get the whole, in the episodes' order."""
    share = group().share(len(numbers))
    if len(numbers) < group().size:
        return evaluate(classify, sampler, numbers, progress=progress)
    parts = gather(evaluate(classify, sampler, numbers[share.start : share.stop], progress=progress))
    return parts[0] if len(parts) == 1 else joined(parts)


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Evaluations of one model on parts of a list of episodes as that of the list; speeds add up."""
    first = parts[0]
    return Evaluation(
        first.shot,
        np.concatenate([part.accuracies for part in parts]),
        np.sum([part.confusion for part in parts], axis=0),
        first.classes,
        sum(part.episodes_per_second for part in parts),
    )
