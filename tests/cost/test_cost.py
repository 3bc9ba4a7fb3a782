"""Cost: single passes times their number equal a whole episode, and parts equal formulas worked out by hand."""

import copy
from math import comb

import pytest
import torch
from torch import nn

from litemkd.cost.counting import Count, count, set_plain
from litemkd.cost.episode import EpisodeSize, measure, measure_teacher
from litemkd.models.backbones import Backbone
from litemkd.models.folding import EvaluationForm
from litemkd.models.heads import TRX
from litemkd.models.layers import TupleProjection
from litemkd.models.student import Student
from litemkd.models.teacher import Fusion, Teacher

CPU = torch.device("cpu")
EPISODE = EpisodeSize(way=3, shot=2, queries=2, frames=4, size=64)
DIM, WIDTH, SIZES = 24, 10, (2, 3)


def make_student(branches=("distill", "label"), name="mobilenet_v3_small", dim=DIM):
    head = TRX(dim, width=WIDTH, frames=EPISODE.frames, tuples=SIZES)
    return Student(Backbone(name), head, width=dim, branches=branches, dropout=0.5)


@pytest.fixture(scope="module")
def student():
    return make_student()


class WholeEpisode(nn.Module):
    """All videos of one episode through everything, as in training."""

    def __init__(self, student):
        super().__init__()
        self.student = student

    def forward(self, frames):
        features = self.student.branch_features(self.student.frame_features(frames))
        rows = torch.arange(EPISODE.videos)[None]
        supports = EPISODE.way * EPISODE.shot
        labels = torch.arange(EPISODE.way).repeat(EPISODE.shot)[None]
        return self.student(features, rows[:, :supports], labels, rows[:, supports:], EPISODE.way)


class WholeInEvaluation(nn.Module):
    """All videos of one episode through the evaluation form."""

    def __init__(self, student):
        super().__init__()
        self.form = EvaluationForm(student.eval())

    def forward(self, frames):
        codes = self.form.encode(self.form.frame_features(frames))
        supports = EPISODE.way * EPISODE.shot
        labels = torch.arange(EPISODE.way).repeat(EPISODE.shot)[None]
        support, query = (
            {name: tuple(x[None, rows] for x in code) for name, code in codes.items()}
            for rows in (slice(supports), slice(supports, None))
        )
        return self.form.match(support, labels, query, EPISODE.way)


class Concatenated(nn.Module):
    """The published projection, of layers that thop knows by itself."""

    def __init__(self, projection):
        super().__init__()
        self.tuples, self.sums, self.plain = projection.tuples, projection.sums, True
        self.linear = nn.Linear(projection.in_features, projection.out_features)

    def forward(self, x, together):
        return self.linear(x[..., self.tuples, :].flatten(-2))


FRAMES = torch.rand(EPISODE.videos, EPISODE.frames, 3, EPISODE.size, EPISODE.size)


@pytest.mark.parametrize("branches", [("distill", "label"), ("label",)])
def test_parts_times_numbers_equal_a_whole_episode(branches):
    student = make_student(branches)
    cost = measure(student, EPISODE, device=CPU, latency=False)
    counted = count(WholeInEvaluation(student), FRAMES)[1]
    assert cost.total.macs == pytest.approx(counted.macs, rel=1e-12)
    assert cost.total.flops == pytest.approx(counted.flops, rel=1e-12)


def test_plain_form_equals_a_whole_episode_of_layers_known_to_thop(student):
    cost = measure(student, EPISODE, device=CPU, latency=False)
    published = copy.deepcopy(student)
    for part in published.head.transformers:
        part.k_linear, part.v_linear = Concatenated(part.k_linear), Concatenated(part.v_linear)
    counted = count(WholeEpisode(published), FRAMES)[1]
    assert cost.total_plain.macs == pytest.approx(counted.macs, rel=1e-12)
    assert cost.total_plain.flops == pytest.approx(counted.flops, rel=1e-12)


@pytest.mark.parametrize("dim", [DIM, 2000])
def test_head_by_hand(dim):
    """At 2000 one map from the backbone's 576 numbers to keys and values is cheaper; at 24 it is not."""
    student = make_student(dim=dim)
    e = EPISODE
    supports, asked = e.way * e.shot, e.way * e.queries
    plain = norm = sums = products = plain_products = 0
    for size in SIZES:
        places = comb(e.frames, size)
        rows = size * (e.frames - size + 1)  # frames at places of a tuple
        plain += 2 * places * size * dim * WIDTH  # keys and values of a video
        norm += 4 * places * WIDTH
        plain_products += 2 * asked * places * supports * places * WIDTH
        # products of a video's keys, to know the spread of its tuples, and their shifts
        sums += (rows + 1) * rows * (WIDTH + places)
        products += asked * rows * supports * rows * WIDTH  # queries by supports
        products += (
            asked * supports * rows * places * (rows + 2 * places)
        )  # to scores of tuples, shares to frames
        products += (
            asked * places * rows * WIDTH + asked * places * supports * rows * WIDTH
        )  # values, prototypes
    branch, outputs = e.frames * 576 * dim, 2 * sum(SIZES) * WIDTH
    cheap = e.frames * 576 * outputs if dim == 2000 else branch + e.frames * dim * outputs
    cost = measure(student, e, device=CPU, latency=False)
    assert cost.parts["encode"].macs == 2 * e.videos * cheap
    assert cost.parts["encode"].flops == 2 * 2 * e.videos * (cheap + sums)
    assert (cost.parts["match"].macs, cost.parts["match"].flops) == (0, 2 * 2 * products)
    assert cost.plain["encode"].macs == 2 * e.videos * (branch + plain + norm)
    assert cost.plain["encode"].flops == 2 * 2 * e.videos * (branch + plain)
    assert (cost.plain["match"].macs, cost.plain["match"].flops) == (0, 2 * 2 * plain_products)


def test_batch_norms_are_not_there_in_evaluation(student):
    cost = measure(student, EPISODE, device=CPU, latency=False)
    maps = []
    backbone = copy.deepcopy(student.backbone).eval()
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_hook(lambda *call: maps.append(call[-1].numel()))
    with torch.no_grad():
        backbone(FRAMES)
    assert cost.plain["backbone"].macs - cost.parts["backbone"].macs == 4 * sum(maps)
    assert cost.plain["backbone"].flops == cost.parts["backbone"].flops


def test_figures_follow_from_the_parts(student):
    cost = measure(student, EPISODE, device=CPU, latency=False)
    assert EPISODE.videos == 12
    assert set(cost.parts) == set(cost.plain) == {"backbone", "encode", "match"}
    assert cost.gmacs_per_episode_plain == pytest.approx(sum(part.macs for part in cost.plain.values()) / 1e9)
    assert cost.gmacs_per_episode == pytest.approx(sum(part.macs for part in cost.parts.values()) / 1e9)
    assert cost.gflops_per_episode == pytest.approx(sum(part.flops for part in cost.parts.values()) / 1e9)
    assert cost.gmacs_per_frame == pytest.approx(cost.gmacs_per_episode / 48)
    assert cost.gmacs_per_episode < cost.gmacs_per_episode_plain
    assert cost.params_m == sum(x.numel() for x in student.parameters()) / 1e6
    assert cost.latency is None


def test_latency_and_the_student_is_left_as_it_was():
    student = make_student().train()
    student.backbone.eval()
    set_plain(student, True)
    modes = [part.training for part in student.modules()]
    state = copy.deepcopy(student.state_dict())
    names = [name for name, _ in student.named_buffers()]
    random = torch.get_rng_state()
    latency = measure(student, EPISODE, device=CPU).latency
    assert latency is not None
    assert 0 < latency.ms_per_video < 60_000
    assert (latency.device, latency.threads, latency.passes) == ("cpu", 1, 5)
    assert [part.training for part in student.modules()] == modes
    assert [name for name, _ in student.named_buffers()] == names
    assert all(torch.equal(value, state[name]) for name, value in student.state_dict().items())
    assert all(part.plain for part in student.modules() if isinstance(part, TupleProjection))
    assert torch.equal(torch.get_rng_state(), random)


def make_teacher(modalities=("rgb", "flow", "depth")):
    fusion = Fusion(modalities, DIM, frames=EPISODE.frames, layers=2, feed_forward=20)
    return Teacher(fusion, TRX(DIM, width=WIDTH, frames=EPISODE.frames, tuples=SIZES))


def test_teacher_is_its_experts_fusion_and_head(student):
    names = ("rgb", "flow", "depth")
    experts = {name: make_student(("label",)) for name in names}
    teacher = make_teacher(names)
    cost = measure_teacher(experts, teacher, EPISODE, device=CPU)
    single = measure(experts["rgb"], EPISODE, device=CPU, latency=False)

    def path(modalities):
        wide, frames = modalities * DIM, EPISODE.frames
        layer = frames * (4 * wide**2 + 2 * wide * 20)
        linear = 2 * layer + frames * wide * DIM
        norms = 4 * frames * DIM * modalities + 2 * 2 * 4 * frames * wide
        return linear + norms, 2 * (linear + 2 * 2 * frames**2 * wide)

    assert list(cost.parts) == ["expert_rgb", "expert_flow", "expert_depth", "fusion", "head"]
    for name in names:
        branch = EPISODE.videos * EPISODE.frames * 576 * DIM
        for form, backbone in ((cost.parts, single.parts), (cost.plain, single.plain)):
            assert form[f"expert_{name}"] == backbone["backbone"] + Count(branch, 2 * branch)
    assert cost.parts["fusion"].macs == EPISODE.videos * (path(3)[0] + 2 * path(2)[0])
    assert cost.parts["fusion"].flops == EPISODE.videos * (path(3)[1] + 2 * path(2)[1])
    for form, other in ((cost.parts, single.parts), (cost.plain, single.plain)):
        assert form["head"] + Count(branch, 2 * branch) == other["encode"] + other["match"]
    own_heads = sum(x.numel() for expert in experts.values() for x in expert.head.parameters())
    everything = sum(x.numel() for model in (teacher, *experts.values()) for x in model.parameters())
    assert cost.params_m == pytest.approx((everything - own_heads) / 1e6)
    assert cost.latency is not None
    assert cost.latency.ms_per_video > 0


def test_teacher_on_stored_features():
    cost = measure_teacher({}, make_teacher(("rgb",)), EPISODE, device=CPU)
    assert list(cost.parts) == ["fusion", "head"]
    assert cost.latency is not None
