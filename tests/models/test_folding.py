"""The evaluation form gives the logits of the student it is made of, whatever is folded."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from litemkd.cost.episode import EpisodeSize, measure
from litemkd.errors import EpisodeError
from litemkd.models.backbones import Backbone
from litemkd.models.folding import EvaluationForm, deployed, fold_norms
from litemkd.models.heads import HEADS, TRX
from litemkd.models.student import Student
from tests.helpers import usual_first

FRAMES, WAY = 5, 3
SUPPORT = torch.tensor([[0, 1, 2, 3, 4, 5], [8, 7, 6, 5, 4, 3]])
LABELS = {
    "unequal shots": torch.tensor([[0, 1, 2, 2, 1, 2], [1, 1, 1, 0, 2, 1]]),
    "sorted": torch.tensor([[0, 0, 1, 1, 2, 2]] * 2),
}
QUERY = torch.tensor([[6, 7, 8], [0, 1, 2]])

# Head, its settings, D of the branches, pooling: 32 features a frame go in, or 512 ("flatten").
CASES = {
    "trx, branch folded": ("trx", {"width": 6, "tuples": (2, 3)}, 48, "mean"),
    "trx, branch as it is": ("trx", {"width": 40, "tuples": (2,)}, 12, "flatten"),
    "trx, odd tuples": ("trx", {"width": 6, "tuples": (1, 4, 5)}, 13, "mean"),
    "strm": ("strm", {"width": 10}, 12, "places"),
    "otam": ("otam", {}, 12, "mean"),
    "bimhm": ("bimhm", {}, 12, "mean"),
    "prototype": ("prototype", {}, 12, "flatten"),
    "hyrsm": ("hyrsm", {}, 12, "mean"),
    "clip_fsar": ("clip_fsar", {}, 12, "mean"),
    "molo": ("molo", {}, 12, "mean"),
    "team": ("team", {"patterns": 4}, 12, "mean"),
}


def student_of(case, dtype=torch.float64):
    name, settings, dim, pooling = CASES[case]
    torch.manual_seed(0)
    head = HEADS[name](dim, frames=FRAMES, **settings)
    student = Student(Backbone("conv4", pooling=pooling), head, width=dim, dropout=0.5).to(dtype)
    for part in student.modules():
        if isinstance(part, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.3)
            nn.init.normal_(part.bias, 0, 0.3)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0, 2 / part.in_features**0.5)
            if part.bias is not None:
                nn.init.normal_(part.bias, 0, 0.3)
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    return student.eval()


def videos_of(dtype):
    """Nine videos whose frames differ in their colours and in where these are."""
    coarse = torch.randn(9, FRAMES, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return 2 * coarse.repeat_interleave(8, -1).repeat_interleave(8, -2)


def logits_of(form, videos, labels):
    codes = form.encode(form.frame_features(videos))
    support, query = (
        {name: tuple(x[rows] for x in code) for name, code in codes.items()} for rows in (SUPPORT, QUERY)
    )
    return form.match(support, labels, query, WAY)


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_student(case, labels, dtype, within):
    student = student_of(case, dtype)
    videos = videos_of(dtype)
    with torch.no_grad():
        features = student.branch_features(student.frame_features(videos))
        expected = student.predict(student(features, SUPPORT, labels, QUERY, WAY))
        found = logits_of(EvaluationForm(student), videos, labels)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=within, atol=within)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "efficientnet_b0"])
def test_no_norm_is_left_in_a_backbone(name):
    torch.manual_seed(0)
    backbone = Backbone(name, normalise="motion").eval().double()
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    folded = fold_norms(backbone)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    frames = torch.rand(1, 2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(folded(frames), backbone(frames), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "name", usual_first(["repvgg_a0", "mobileone_s0", "fastvit_t8"], ["repghostnet_050", "ghostnetv3_050"])
)
def test_a_network_that_is_deployed_in_another_form_is_evaluated_and_counted_in_it(name):
    torch.manual_seed(0)
    backbone = Backbone(f"timm:{name}").eval().double()
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    before = backbone.state_dict()
    form = fold_norms(backbone)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in form.modules())
    assert backbone.state_dict().keys() == before.keys()
    frames = torch.rand(1, 2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(form(frames), backbone(frames), rtol=1e-9, atol=1e-9)

    student = Student(backbone.float(), TRX(16, width=8, frames=2), width=16).eval()
    size = EpisodeSize(way=2, shot=1, frames=2, size=64)
    cost = measure(student, size, device=torch.device("cpu"), latency=False)
    assert cost.parts["backbone"].flops <= cost.plain["backbone"].flops
    rest = sum(x.numel() for part in (student.branches, student.head) for x in part.parameters())
    alone = sum(x.numel() for x in deployed(backbone.features).parameters())
    assert alone < sum(x.numel() for x in backbone.parameters())
    assert cost.params_m * 1e6 == pytest.approx(alone + rest)


def test_other_networks_are_deployed_as_they_are():
    backbone = Backbone("conv4")
    assert deployed(backbone.features) is backbone.features


def test_branches_are_folded_only_where_that_is_less_work():
    """Per frame C N against C D + D N multiplications, N = 2 n width summed over the tuple sizes."""
    folded, apart = (EvaluationForm(student_of(f"trx, branch {how}")) for how in ("folded", "as it is"))
    for branch in folded.branches.values():
        assert isinstance(branch.branch, nn.Identity)
        assert branch.project.weight.shape == (2 * 6 * (2 + 3), 32)
    for branch in apart.branches.values():
        assert isinstance(branch.branch, nn.Linear)
        assert branch.project.weight.shape == (2 * 40 * 2, 12)


def test_work_in_evaluation_is_of_placed_frames():
    """Codes of pairs of 8 frames hold 14 placed frames, not 28 pairs."""
    head = TRX(12, width=6, frames=8).eval()
    keys, values, marks = head.folded(nn.Identity()).encode(torch.randn(4, 8, 12))
    assert keys.shape == values.shape == (4, 14, 6)
    assert marks.shape == (4, 2, 28)


def test_the_student_is_left_as_it_was():
    student = student_of("trx, branch folded")
    before, parts = copy.deepcopy(student.state_dict()), dict(student.named_modules())
    form = EvaluationForm(student)
    with torch.no_grad():
        logits_of(form, videos_of(torch.float64), LABELS["sorted"])
    assert dict(student.named_modules()) == parts
    after = student.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(x.requires_grad for x in student.parameters())


def test_a_student_in_training_mode_is_refused():
    student = student_of("otam")
    student.backbone.train()
    for make in (EvaluationForm, lambda student: fold_norms(student.backbone)):
        with pytest.raises(ValueError, match="training mode"):
            make(student)


@pytest.mark.parametrize("case", CASES)
def test_a_class_without_support_is_refused(case):
    form, labels = EvaluationForm(student_of(case)), LABELS["sorted"].clamp(max=1)
    with torch.no_grad(), pytest.raises(EpisodeError, match="class 2 of episode 0 in the batch has no support"):
        logits_of(form, videos_of(torch.float64), labels)


class Calls(TorchDispatchMode):
    """Counts what is asked of torch."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", CASES)
def test_no_loop_over_episodes_classes_or_queries(case):
    """Torch is called as often for many of them as for few."""
    form = EvaluationForm(student_of(case))
    counts = []
    for batch, way, queries in ((2, 2, 2), (5, 4, 7)):
        with torch.no_grad():
            codes = form.encode(
                torch.rand(batch * (2 * way + queries), FRAMES, *form.backbone.shape, dtype=torch.float64)
            )
            split = 2 * way * batch
            support, query = (
                {name: tuple(x[rows].unflatten(0, (batch, -1)) for x in code) for name, code in codes.items()}
                for rows in (slice(split), slice(split, None))
            )
            labels = torch.arange(way).repeat_interleave(2).repeat(batch, 1)
            with Calls() as calls:
                form.match(support, labels, query, way)
        counts.append(calls.count)
    assert counts[0] == counts[1]
