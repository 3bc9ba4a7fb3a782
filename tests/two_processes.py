"""What each of two processes does for `tests/runtime/test_distributed.py`, which does the same in one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from litemkd.config import TrainConfig
from litemkd.data.packs.clips import Augmentation
from litemkd.evaluation.accuracy import ValEpisodes, evaluate
from litemkd.evaluation.embedding import branch_embeddings
from litemkd.losses import D2M
from litemkd.models.backbones import Backbone
from litemkd.models.heads import TRX
from litemkd.models.passes import Passes
from litemkd.models.student import DISTILL, LABEL, Student
from litemkd.runtime import distributed
from litemkd.storage.states import CheckpointFolder
from litemkd.training.loop import fit
from litemkd.training.objectives import StudentObjective
from tests.training.test_objectives import FRAMES, TRAIN, TRAIN_CLIPS, VAL, VAL_CLIPS, advisor_of, sampler_of
from tests.training.test_training import Recorder

CPU = torch.device("cpu")
# The last step has three batches, one more for one process; where a step has one, the other process has none.
SETTINGS = {
    "sgd": {"momentum": 0.9, "weight_decay": 0.1, "clip_norm": 1.0, "lr": 0.05},
    "adamw": {"optimizer": "adamw", "lr": 0.01, "average": 0.5, "batch": 2},
    "idle": {"lr": 0.05, "batch": 4},
}


class Frozen(Backbone):
    """Batch norm that stays as it is in training, so that one process and two agree to the last digits."""

    def train(self, mode: bool = True) -> Frozen:
        super().train(False)
        return self


def student_of(*, frozen: bool) -> Student:
    torch.manual_seed(0)
    backbone = (Frozen if frozen else Backbone)("conv4", normalise="centred")
    head = TRX(12, width=8, frames=FRAMES, dropout=0.2)
    student = Student(backbone, head, width=12, branches=(DISTILL, LABEL), dropout=0.2)
    student.unused = nn.Linear(3, 3)
    return student.double() if frozen else student


def trained(folder: Path, name: str, *, frozen: bool = True) -> dict[str, Any]:
    """Train a small student; the weights, what was told, and its val episodes."""
    student = student_of(frozen=frozen)
    passes = Passes(student.backbone)
    if frozen:
        passes.run = lambda frames: student.backbone(frames.double())
    objective = StudentObjective(
        student,
        clips=TRAIN_CLIPS,
        sampler=sampler_of(TRAIN),
        loss=D2M.of(support=0.0),
        augmentation=Augmentation(jitter=0.2),
        val=ValEpisodes(VAL_CLIPS, sampler_of(VAL), 21),
        advisor=advisor_of(),
        passes=passes,
    )
    plain = {"episodes": 11, "accumulate": 4, "validations": 1, "schedule": "constant", "milestones": ()}
    train = TrainConfig(**(plain | SETTINGS[name]))
    recorder, checkpoints = Recorder(), CheckpointFolder(folder / name, {"stage": "test"})
    fit(objective, train, seed=0, tracker=recorder, checkpoints=checkpoints)
    return {"weights": student.state_dict(), "told": recorder.told}


def looked_at() -> dict[str, Any]:
    """Features and episodes of a split that are shared out."""
    student = student_of(frozen=False).eval()
    features = branch_embeddings(student, TRAIN_CLIPS)
    found = evaluate(lambda episodes: guess(episodes), sampler_of(VAL), range(101))
    few = evaluate(lambda episodes: guess(episodes), sampler_of(VAL), range(1))
    return {
        "features": dict(features),
        "accuracies": torch.from_numpy(found.accuracies),
        "confusion": torch.from_numpy(found.confusion),
        "few": torch.from_numpy(few.accuracies),
    }


def guess(episodes: Any) -> torch.Tensor:
    """Logits that depend on the episodes' numbers alone."""
    shape = (*episodes.query.shape, episodes.way)
    draws = [torch.randn(shape[1:], generator=torch.Generator().manual_seed(int(n))) for n in episodes.number]
    return torch.stack(draws)


def messages() -> dict[str, Any]:
    """What processes tell one another."""
    rank = distributed.group().rank
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1), nn.Linear(2, 1))
    model[0].running_mean.fill_(1.0 + 4 * rank)
    if rank == 1:
        model[1].weight.grad = torch.full((1, 2), 3.0)
    distributed.average_statistics(model, 3 - 2 * rank)
    distributed.sum_gradients(model)
    return {
        "sums": distributed.sum_values({"both": 1.0, f"only {rank}": 2.0}),
        "gathered": distributed.gather(f"from {rank}"),
        "sent": distributed.broadcast(f"from {rank}"),
        "main": distributed.from_main(lambda: f"by {rank}")(),
        "rows": distributed.gather_rows(torch.full((rank + 1, 2), rank)),
        "share": list(distributed.group().share(5)),
        "mean": model[0].running_mean,
        "gradients": [None if weight.grad is None else weight.grad for weight in model.parameters()],
    }


def main(folder: Path) -> None:
    distributed.start()
    found: dict[str, Any] = {"messages": messages(), "looked_at": looked_at()}
    found |= {name: trained(folder, name) for name in SETTINGS}
    found["norms"] = trained(folder / "norms", "sgd", frozen=False)
    torch.save(found, folder / f"{distributed.group().rank}.pt")
    distributed.finish()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
