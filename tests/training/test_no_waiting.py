"""A step does not wait for the device: nothing is copied back, and no number of it is looked at.

There is no GPU here. Forwards and the loss run on a device that torch only pretends to have (shapes without
numbers, where looking at one raises), the whole step on the processor with a watch on what looks at numbers.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from litemkd.config import TrainConfig
from litemkd.data.episodes import EpisodeSampler
from litemkd.data.packs.clips import Augmentation, ClipSource
from litemkd.evaluation.accuracy import ValEpisodes
from litemkd.losses import D2M
from litemkd.models.backbones import Backbone
from litemkd.models.catalogue import HEAD_SETTINGS
from litemkd.models.heads import TRX, find_head
from litemkd.models.student import Student
from litemkd.models.teacher import Fusion, Teacher
from litemkd.runtime.stopping import held_back
from litemkd.storage.states import CheckpointFolder
from litemkd.training.loop import Training
from litemkd.training.objectives import Advisor, StudentObjective, TeacherObjective
from tests.helpers import MemoryPack, split_of

SPLIT, FRAMES, DIM, SIDE = split_of([6] * 5), 4, 16, 40
PACK = MemoryPack(
    SPLIT.videos,
    np.random.default_rng(0).integers(0, 255, (len(SPLIT.videos), FRAMES, SIDE, SIDE, 3), dtype=np.uint8),
)
SAMPLER = EpisodeSampler(SPLIT, way=3, shot=2, queries=2, seed=0)
LOSSES = {
    "all terms": D2M.of(
        ce=1.0, kd=1.0, support=0.5, relation=0.5, feature=1.0, ce_distill=1.0, support_form="tempered"
    ),
    "decoupled": D2M.of(ce=1.0, kd=1.0, kd_form="decoupled"),
    "focal": D2M.of(ce=1.0, kd=1.0, focal="branches", focal_rest=2.0),
}


class Watch(TorchDispatchMode):
    """Notes what a device is waited for."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        back = (
            isinstance(out, torch.Tensor)
            and out.device.type == "cpu"
            and any(isinstance(one, torch.Tensor) and one.device.type == "cuda" for one in args)
        )
        looks = name in ("_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select")
        looks = looks or (name == "index" and any(x is not None and x.dtype == torch.bool for x in args[1]))
        if back or looks:
            self.waits.append(name)
        return out


def student_of(head="trx"):
    torch.manual_seed(0)
    cls = find_head(head)
    settings = {"width": 8} if "width" in HEAD_SETTINGS[head] else {}
    offered = {"frames": FRAMES} if head not in ("prototype", "sequence", "bimhm", "otam") else {}
    made = cls(DIM, **offered, **settings)
    pooling = "places" if made.places > 1 else "mean"
    return Student(
        Backbone("conv4", pooling=pooling),
        made,
        width=DIM,
        branches=("distill", "label"),
        dropout=0.1,
        guess=DIM,
    )


def teacher_of():
    fusion = Fusion(("rgb", "flow"), DIM, frames=FRAMES, layers=1, feed_forward=8, dropout=0.1)
    return Teacher(fusion, TRX(DIM, width=8, frames=FRAMES))


def advisor_of(teacher, loss, device="cpu"):
    return Advisor(teacher, torch.zeros(len(SPLIT.videos), FRAMES, DIM, device=device), loss.needs)


def pretend(module):
    """Put a module on a GPU that is not there."""
    for part in module.modules():
        for name, one in list(part._parameters.items()):
            if one is not None:
                part._parameters[name] = nn.Parameter(
                    torch.empty_strided(one.shape, one.stride(), device="cuda")
                )
        for name, one in list(part._buffers.items()):
            if one is not None:
                part._buffers[name] = torch.empty_strided(
                    one.shape, one.stride(), dtype=one.dtype, device="cuda"
                )


def objective_of(student, loss, advisor, device="cpu"):
    clips = ClipSource(PACK, SPLIT, crop=36, device=torch.device(device))
    return StudentObjective(
        student,
        clips=clips,
        sampler=SAMPLER,
        augmentation=Augmentation(flip=True, jitter=0.1),
        loss=loss,
        val=ValEpisodes(clips, SAMPLER, 4),
        advisor=advisor,
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_forwards_and_loss_of_a_student_look_at_nothing(loss):
    student, teacher = student_of(), teacher_of()
    with FakeTensorMode(allow_non_fake_inputs=True), Watch() as watch:
        pretend(student)
        pretend(teacher)
        objective = objective_of(student, LOSSES[loss], advisor_of(teacher, LOSSES[loss], "cuda"), "cuda")
        watch.waits.clear()
        step = objective.step(range(2))
        assert step.loss.device.type == "cuda"
        assert {value.device.type for value in step.told.values()} == {"cuda"}
    assert watch.waits == []


@pytest.mark.parametrize("head", sorted(HEAD_SETTINGS))
def test_no_head_looks_at_what_it_matches(head):
    student = student_of(head)
    with FakeTensorMode(allow_non_fake_inputs=True), Watch() as watch:
        pretend(student)
        objective_of(student, D2M.of(ce=1.0), None, "cuda").step(range(2))
    assert watch.waits == []


def test_the_teacher_looks_at_nothing():
    teacher = teacher_of()
    with FakeTensorMode(allow_non_fake_inputs=True), Watch() as watch:
        pretend(teacher)
        features = {
            name: torch.zeros(len(SPLIT.videos), FRAMES, DIM, device="cuda") for name in ("rgb", "flow")
        }
        TeacherObjective(teacher, features=features, sampler=SAMPLER, val=ValEpisodes({}, SAMPLER, 4)).step(
            range(2)
        )
    assert watch.waits == []


class Told:
    def __init__(self):
        self.metrics = []

    def log_metrics(self, metrics, step):
        self.metrics.append((step, dict(metrics)))


def test_a_whole_step_looks_at_nothing_and_what_is_read_later_is_the_same(tmp_path, monkeypatch):
    def trained(steps, later):
        loss, told = LOSSES["all terms"], Told()
        student = student_of()
        torch.manual_seed(1)
        objective = objective_of(student, loss, advisor_of(teacher_of(), loss))
        # Counts of Adam and of the average stand in the host's memory, where looking at them is no waiting.
        train = TrainConfig(episodes=24, accumulate=4, batch=2, optimizer="sgd", clip_norm=1.0)
        training = Training(objective, train, 0, told, CheckpointFolder(tmp_path / str(later), {}), "train")
        if later:
            training.gathered.device = training.device = torch.device("cuda")  # as far as reading is concerned
            monkeypatch.setattr("litemkd.training.gathering.SECONDS", 1e9)
            monkeypatch.setattr("litemkd.training.loop._mixed", lambda *_: False)
            monkeypatch.setattr(torch, "autocast", lambda *_, **__: torch.enable_grad())
        with held_back() as stop, Watch() as watch:
            for _ in range(steps):
                training.step(stop)
        waits = watch.waits
        if later:
            assert told.metrics == []
            training.read()
        return waits, told.metrics, [x.clone() for x in student.parameters()]

    waits, told, weights = trained(3, later=True)
    monkeypatch.undo()
    assert waits == []
    _, at_once, same = trained(3, later=False)
    assert told == at_once
    assert [step for step, _ in told] == [4, 8, 12]
    assert all(torch.equal(one, other) for one, other in zip(weights, same, strict=True))
