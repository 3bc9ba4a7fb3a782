"""What a step computes, on a tiny student, clips and teacher; the teacher is frozen whatever happens."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from litemkd.config import TrainConfig
from litemkd.data.episodes import EpisodeSampler
from litemkd.data.packs.clips import Augmentation, ClipSource
from litemkd.evaluation.accuracy import ValEpisodes
from litemkd.evaluation.embedding import (
    CLIPS_AT_ONCE,
    branch_embeddings,
    fuse_all,
    student_classifier,
    teacher_classifier,
)
from litemkd.losses import D2M
from litemkd.losses.lesson import Lesson
from litemkd.losses.measures import cross_entropy, support_distances
from litemkd.losses.term import NEEDS
from litemkd.models.backbones import Backbone
from litemkd.models.heads import FRAME, TRX
from litemkd.models.passes import Passes
from litemkd.models.rounding import EightBits
from litemkd.models.student import DISTILL, LABEL, Student
from litemkd.models.teacher import Fusion, Teacher
from litemkd.storage.states import CheckpointFolder
from litemkd.training.loop import fit
from litemkd.training.objectives import Advisor, EpisodeTensors, StudentObjective, TeacherObjective
from tests.helpers import MemoryPack, split_of

CPU = torch.device("cpu")
FRAMES, SIDE, WIDTH = 2, 32, 12
NAMES = ("rgb", "flow", "depth")


class FakePack(MemoryPack):
    """Frames in memory, in another order than the split's; a class has a colour of its own."""

    def __init__(self, split):
        names = tuple(sorted(split.videos))
        rng = np.random.default_rng(0)
        colours = {name: rng.integers(0, 256, 3) for name in split.classes}
        noise = rng.integers(-40, 40, (len(names), FRAMES, 36, 40, 3))
        plain = np.stack([colours[name.partition("/")[0]] for name in names])[:, None, None, None]
        super().__init__(names, (plain + noise).clip(0, 255).astype(np.uint8))


TRAIN, VAL = split_of([6, 7, 6, 8], "train"), split_of([5, 6, 5], "val")
TRAIN_CLIPS = ClipSource(FakePack(TRAIN), TRAIN, crop=SIDE, device=CPU)
VAL_CLIPS = ClipSource(FakePack(VAL), VAL, crop=SIDE, device=CPU)


def sampler_of(split=TRAIN, shot=2, queries=1, way=3):
    return EpisodeSampler(split, way=way, shot=shot, queries=queries, seed=0)


def student_of(dropout=0.0, branches=(DISTILL, LABEL), guess=None):
    torch.manual_seed(0)
    head = TRX(WIDTH, width=8, frames=FRAMES, dropout=dropout)
    backbone = Backbone("mobilenet_v3_small", normalise="centred")
    return Student(backbone, head, width=WIDTH, branches=branches, dropout=dropout, guess=guess)


def teacher_of(dropout=0.5):
    torch.manual_seed(1)
    fusion = Fusion(NAMES, WIDTH, frames=FRAMES, layers=1, feed_forward=16, dropout=dropout)
    return Teacher(fusion, TRX(WIDTH, width=8, frames=FRAMES, dropout=dropout))


def features_of(split):
    """Features of each modality: a class's direction and some noise."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.from_numpy(split.labels.copy())
    found = {}
    for name in NAMES:
        directions = torch.randn(len(split.classes), 1, WIDTH, generator=generator)
        found[name] = directions[labels] + 0.5 * torch.randn(len(labels), FRAMES, WIDTH, generator=generator)
    return found


def advisor_of(teacher=None):
    teacher = teacher or teacher_of()
    return Advisor(teacher, fuse_all(teacher.eval(), features_of(TRAIN)), NEEDS)


def told(advisor, episodes):
    return advisor(episodes, episodes.compact()[0])


def objective_of(model=None, advisor=None, loss=None, **more):
    return StudentObjective(
        model or student_of(),
        clips=TRAIN_CLIPS,
        sampler=sampler_of(),
        loss=loss or D2M.of(),
        augmentation=Augmentation(),
        val=ValEpisodes(VAL_CLIPS, sampler_of(VAL), 12),
        advisor=advisor,
        **more,
    )


def teacher_objective(model):
    return TeacherObjective(
        model,
        features=features_of(TRAIN),
        sampler=sampler_of(),
        val=ValEpisodes(features_of(VAL), sampler_of(VAL), 40),
    )


def weights_of(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def unchanged(model, before):
    after = model.state_dict()
    return after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


class Silent:
    def __init__(self):
        self.told = []

    def log_metrics(self, metrics, step):
        self.told.append((step, dict(metrics)))


# Episodes and cached codes


def test_placed_points_at_the_same_videos():
    episodes = sampler_of()[range(3)]
    at = EpisodeTensors.of(episodes, CPU)
    np.testing.assert_array_equal(at.videos[at.support.numpy()], episodes.support)
    np.testing.assert_array_equal(at.videos[at.query.numpy()], episodes.query)
    np.testing.assert_array_equal(at.query_labels.numpy(), episodes.query_labels)


def test_embeddings_are_of_every_video_in_the_splits_order():
    student = student_of().eval()
    found = branch_embeddings(student, TRAIN_CLIPS)
    assert {name: tuple(x.shape) for name, x in found.items()} == dict.fromkeys(
        (DISTILL, LABEL), (len(TRAIN.videos), FRAMES, WIDTH)
    )
    assert len(TRAIN.videos) < CLIPS_AT_ONCE
    rows = np.array([20, 3])
    with torch.no_grad():
        for name, x in student.branch_features(student.frame_features(TRAIN_CLIPS.centred(rows))).items():
            torch.testing.assert_close(found[name][rows], x, rtol=1e-4, atol=1e-5)


def test_embeddings_in_parts_are_those_at_once(monkeypatch):
    student = student_of().eval()
    whole = branch_embeddings(student, VAL_CLIPS)
    monkeypatch.setattr("litemkd.evaluation.embedding.CLIPS_AT_ONCE", 7)
    for name, x in branch_embeddings(student, VAL_CLIPS).items():
        torch.testing.assert_close(x, whole[name], rtol=1e-4, atol=1e-5)


def test_cached_classification_is_the_models_own():
    student = student_of(dropout=0.5).eval()
    episodes = sampler_of(VAL)[range(4)]
    at = EpisodeTensors.of(episodes, CPU)
    with torch.no_grad():
        features = student.branch_features(student.frame_features(VAL_CLIPS.centred(at.videos)))
        expected = student.predict(student(features, at.support, at.support_labels, at.query, 3))
        found = student_classifier(student, VAL_CLIPS)(episodes)
    assert found.shape == (4, 3, 3)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


# The student's step


def test_a_labels_only_step_is_the_cross_entropy_of_its_branches():
    objective = objective_of(loss=D2M.of(ce=1.0, ce_distill=1.0, kd=0.0, support=0.0))
    objective.model.eval()  # no batch statistics: the same numbers in two passes
    step = objective.step(range(2))
    assert set(step.metrics) == {"train/loss", "train/loss_ce", "train/accuracy"}

    episodes = sampler_of()[range(2)]
    at = EpisodeTensors.of(episodes, CPU)
    frames = TRAIN_CLIPS.augmented(at.videos, Augmentation(), 0, 0)
    features = objective.model.branch_features(objective.model.frame_features(frames))
    logits = objective.model(features, at.support, at.support_labels, at.query, 3)
    terms = [cross_entropy(x[FRAME], at.query_labels) for x in logits.values()]
    torch.testing.assert_close(step.loss, sum(terms))
    right = objective.model.predict(logits).argmax(-1) == at.query_labels
    assert step.metrics["train/accuracy"] == pytest.approx(100 * right.float().mean().item())


def test_a_distilled_step_is_d2m_of_label_branch_distill_branch_and_teacher():
    teacher = teacher_of().eval()
    objective = objective_of(advisor=advisor_of(teacher), loss=D2M.of(support_form="tempered"))
    objective.model.eval()
    step = objective.step(range(2))
    assert set(step.metrics) >= {"train/loss", "train/loss_ce", "train/loss_kd", "train/loss_support"}

    episodes = sampler_of()[range(2)]
    at = EpisodeTensors.of(episodes, CPU)
    features = objective.model.branch_features(
        objective.model.frame_features(TRAIN_CLIPS.augmented(at.videos, Augmentation(), 0, 0))
    )
    logits = objective.model(features, at.support, at.support_labels, at.query, 3)
    known = told(advisor_of(teacher), episodes)
    support = support_distances(features[LABEL][at.support], at.support_labels, 3)
    answers = known | {"student_support": {LABEL: support}}
    terms = objective.loss(Lesson(logits, at.query_labels, answers=answers))
    torch.testing.assert_close(step.loss, terms.loss)
    assert step.metrics["train/loss_kd"] == pytest.approx(float(terms.values["kd"].detach()), rel=1e-4)
    assert step.metrics["train/loss_support"] == pytest.approx(
        float(terms.values["support"].detach()), rel=1e-4, abs=1e-5
    )


@pytest.mark.parametrize(("term", "taught"), [("ce", LABEL), ("support", LABEL), ("kd", DISTILL)])
def test_each_term_teaches_its_branch(term, taught):
    loss = D2M.of(**({"ce": 0.0, "kd": 0.0, "support": 0.0} | {term: 1.0}), support_form="tempered")
    objective = objective_of(advisor=advisor_of(), loss=loss)
    objective.sampler = sampler_of(way=4, shot=1)  # below four classes the support term has nothing to compare
    objective.step(range(2)).loss.backward()
    for name, branch in objective.model.branches.items():
        strength = 0.0 if branch.weight.grad is None else float(branch.weight.grad.abs().max())
        assert (strength > 1e-7) == (name == taught), (name, strength)
    assert (
        max(float(w.grad.abs().max()) for w in objective.model.backbone.parameters() if w.grad is not None) > 0
    )


def test_the_feature_term_teaches_the_distill_branch_and_the_guess():
    advisor = advisor_of()
    objective = objective_of(
        student_of(guess=WIDTH), advisor, D2M.of(ce=0.0, kd=0.0, support=0.0, feature=1.0, ce_distill=0.0)
    )
    step = objective.step(range(2))
    step.loss.backward()
    assert objective.model.guess.weight.grad.abs().max() > 0
    assert objective.model.branches[DISTILL].weight.grad.abs().max() > 0
    taught = objective.model.branches[LABEL].weight.grad
    assert taught is None or not taught.any()
    assert step.metrics["train/loss_feature"] == pytest.approx(float(step.loss.detach()))

    videos = sampler_of()[range(2)].compact()[0]
    goal = advisor.standardised[videos]
    objective.model.guess.weight.data.zero_()
    objective.model.guess.bias.data.zero_()
    guessed = objective.step(range(2)).metrics["train/loss_feature"]
    assert guessed == pytest.approx(float(goal.pow(2).mean()), rel=1e-5)


def test_without_a_guess_there_is_no_feature_term():
    objective = objective_of(advisor=advisor_of(), loss=D2M.of(feature=1.0))
    assert "train/loss_feature" not in objective.step(range(2)).metrics


def test_a_step_depends_on_its_numbers_alone():
    objective = (
        objective_of()
    )  # in training mode: with the running statistics of new weights all logits are alike
    first = objective.step(range(4, 6)).metrics
    objective.step([9])
    assert objective.step(range(4, 6)).metrics == first
    assert objective.step(range(6, 8)).metrics != first


# The teacher's advice


def test_the_teacher_is_frozen_and_its_dropout_is_off():
    """Fails if dropout is active: the same episodes twice, from a teacher handed over in training mode."""
    teacher = teacher_of(dropout=0.5)
    with torch.no_grad():
        fused = teacher.eval().fuse(features_of(TRAIN))
    teacher.train()
    advisor = Advisor(teacher, fused, NEEDS)
    assert not any(module.training for module in teacher.modules())
    assert not any(weight.requires_grad for weight in teacher.parameters())

    episodes = sampler_of()[range(3)]
    at = EpisodeTensors.of(episodes, CPU)
    with torch.no_grad():
        expected = teacher(fused[at.videos], at.support, at.support_labels, at.query, 3)[FRAME]
    for _ in range(2):
        torch.testing.assert_close(told(advisor, episodes)["teacher_logits"], expected, rtol=1e-5, atol=1e-5)
    one, two = told(advisor, episodes), told(Advisor(teacher, fused, NEEDS), episodes)
    assert torch.equal(one["teacher_logits"], two["teacher_logits"])
    assert torch.equal(one["teacher_support"], two["teacher_support"])


def test_that_check_would_see_an_active_dropout():
    teacher, fused = teacher_of(dropout=0.5).train(), torch.randn(len(TRAIN.videos), FRAMES, WIDTH)
    one, two = (teacher.head.encode(fused) for _ in range(2))
    assert not torch.allclose(one, two, rtol=1e-5, atol=1e-5)


def test_a_model_in_training_mode_is_refused():
    teacher, student = teacher_of().train(), student_of().train()
    fused = torch.randn(len(TRAIN.videos), FRAMES, WIDTH)
    for name, call in (
        ("fuse_all", lambda: fuse_all(teacher, features_of(TRAIN))),
        ("teacher_classifier", lambda: teacher_classifier(teacher, fused)),
        ("student_classifier", lambda: student_classifier(student, TRAIN_CLIPS)),
        ("branch_embeddings", lambda: branch_embeddings(student, TRAIN_CLIPS)),
    ):
        with pytest.raises(ValueError, match=f"{name}: the model is in training mode; call its eval"):
            call()
    student.eval().head.train()  # a part is enough
    with pytest.raises(ValueError, match="training mode"):
        student_classifier(student, TRAIN_CLIPS)


def test_advice_is_constant_and_complete():
    advisor = advisor_of()
    episodes = sampler_of()[range(2)]
    known = told(advisor, episodes)
    assert known["teacher_logits"].shape == (2, 3, 3)
    assert known["teacher_support"].shape == (2, 3, 2)
    for value in (known["teacher_logits"], known["teacher_support"]):
        assert not value.requires_grad
        assert not value.is_inference()  # else backward refuses it
    expected = support_distances(advisor.fused[episodes.support], torch.from_numpy(episodes.support_labels), 3)
    torch.testing.assert_close(known["teacher_support"], expected)
    everything = Advisor(advisor.teacher, advisor.fused, NEEDS)(episodes, np.arange(len(TRAIN.videos)))
    whole = everything["teacher_standardised"]
    torch.testing.assert_close(whole.mean((0, 1)), torch.zeros(WIDTH), rtol=0, atol=1e-5)
    torch.testing.assert_close(whole.std((0, 1), correction=0), torch.ones(WIDTH), rtol=0, atol=1e-4)
    assert torch.equal(known["teacher_standardised"], whole[episodes.compact()[0]])


def test_training_the_student_leaves_the_teacher_as_it_is():
    teacher = teacher_of()
    advisor = advisor_of(teacher)
    objective = objective_of(advisor=advisor)
    before, episodes = weights_of(teacher), sampler_of()[range(3)]
    first = told(advisor, episodes)
    optimizer = torch.optim.SGD(objective.model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    started = weights_of(objective.model)
    for number in range(2):
        objective.model.train()
        objective.step([number]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not unchanged(objective.model, started)
    assert unchanged(teacher, before)
    assert all(weight.grad is None for weight in teacher.parameters())
    assert not any(module.training for module in teacher.modules())
    after = told(advisor, episodes)
    assert torch.equal(first["teacher_logits"], after["teacher_logits"])
    assert torch.equal(first["teacher_support"], after["teacher_support"])


def test_the_teacher_is_no_part_of_the_student():
    objective = objective_of(advisor=advisor_of())
    owned = {id(part) for part in [*objective.model.modules(), *objective.model.parameters()]}
    teacher = objective.advisor.teacher
    assert not owned & {id(part) for part in [*teacher.modules(), *teacher.parameters()]}
    assert set(objective.model.state_dict()) == set(student_of().state_dict())


def test_even_a_teacher_set_to_training_later_says_the_same():
    advisor, episodes = advisor_of(), sampler_of()[range(3)]
    first = told(advisor, episodes)
    advisor.teacher.train()
    assert torch.equal(told(advisor, episodes)["teacher_logits"], first["teacher_logits"])


# Validation and batch norm


def test_validation_is_of_the_fixed_list():
    objective = objective_of()
    objective.model.eval()
    one, two = objective.validate(objective.model), objective.validate(objective.model)
    np.testing.assert_array_equal(one.accuracies, two.accuracies)
    assert one.accuracies.shape == (12,)
    assert one.classes == VAL.classes
    assert one.confusion.sum() == 12 * 3


def test_recalibration_sets_batch_norm_to_the_train_clips():
    objective = objective_of()
    model = copy.deepcopy(objective.model).eval()
    objective.recalibrate(model, len(TRAIN.videos))
    assert not model.training
    first = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        frames = TRAIN_CLIPS.centred(np.arange(len(TRAIN.videos))).flatten(0, 1)
        maps = model.backbone.features[0][0][0]((frames - model.backbone.mean) / model.backbone.std)
    torch.testing.assert_close(first.running_mean, maps.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(first.running_var, maps.var((0, 2, 3)), rtol=1e-3, atol=1e-4)
    again = copy.deepcopy(objective.model).eval()
    objective.recalibrate(again, len(TRAIN.videos))
    assert unchanged(again, weights_of(model))
    for name, weight in objective.model.named_parameters():
        assert torch.equal(weight, dict(model.named_parameters())[name])


def test_recalibration_asks_for_no_more_clips_than_there_are():
    objective = objective_of()
    objective.recalibrate(objective.model, 10_000)


# The teacher's own training


@pytest.mark.parametrize("at_once", [1, 5, 512])
def test_extracted_features_are_the_trained_function(at_once):
    teacher, features = teacher_of().eval(), features_of(TRAIN)
    expected = teacher.fuse(features).detach()
    torch.testing.assert_close(fuse_all(teacher, features, at_once), expected, rtol=1e-4, atol=1e-5)


def test_the_teachers_step_is_the_cross_entropy_on_fused_features():
    teacher = teacher_of().eval()
    objective = teacher_objective(teacher)
    step = objective.step(range(3))
    at = EpisodeTensors.of(sampler_of()[range(3)], CPU)
    fused = teacher.fuse(features_of(TRAIN))
    videos = torch.from_numpy(at.videos)
    logits = teacher(fused, videos[at.support], at.support_labels, videos[at.query], 3)
    torch.testing.assert_close(step.loss, cross_entropy(logits[FRAME], at.query_labels), rtol=1e-4, atol=1e-5)
    assert step.metrics["train/loss"] == step.metrics["train/loss_ce"] == pytest.approx(step.loss.item())
    step.loss.backward()
    assert all(weight.grad is not None for weight in teacher.parameters())


def test_a_teacher_learns_what_can_be_learned(tmp_path):
    objective = teacher_objective(teacher_of(dropout=0.0))
    train = TrainConfig(
        episodes=48, accumulate=8, batch=8, lr=0.01, optimizer="adam", schedule="constant", validations=2
    )
    progress = fit(
        objective,
        train,
        seed=0,
        tracker=Silent(),
        checkpoints=CheckpointFolder(tmp_path, {"a": "b"}),
    )
    assert progress.best_accuracy > 60  # a guess is right in a third


def test_a_distillation_from_end_to_end(tmp_path):
    teacher = teacher_of()
    before = weights_of(teacher)
    objective = objective_of(model=student_of(dropout=0.1), advisor=advisor_of(teacher))
    train = TrainConfig(
        episodes=4, accumulate=2, batch=2, validations=2, average=0.9, recalibrate=8, momentum=0.9
    )
    tracker = Silent()
    progress = fit(
        objective,
        train,
        seed=0,
        tracker=tracker,
        checkpoints=CheckpointFolder(tmp_path, {"a": "b"}),
    )
    assert unchanged(teacher, before)
    assert not teacher.training
    assert not any(part.training for part in objective.model.modules())
    assert progress.episodes == 4
    told = {name for _, metrics in tracker.told for name in metrics}
    assert told == {
        "train/loss",
        "train/loss_ce",
        "train/loss_kd",
        "train/loss_support",
        "train/accuracy",
        "train/lr",
        "val/accuracy",
        "val/accuracy_ci95",
    }
    assert objective.validate(objective.model).accuracy.mean == progress.best_accuracy


# Eight bits


def test_the_backbone_is_rounded_in_the_last_part_of_a_training():
    plain, late = student_of(), student_of()
    exact, rounding = objective_of(plain), objective_of(late, passes=Passes(late.backbone, exact=4))
    assert torch.equal(rounding.step([3]).loss, exact.step([3]).loss)
    found = rounding.step([4]).loss
    assert not torch.allclose(found, exact.step([4]).loss, rtol=1e-5)
    other = student_of()
    always = objective_of(other, passes=Passes(other.backbone, exact=0))
    always.step([3])  # batch norm has seen the same
    assert not torch.allclose(always.step([3]).loss, exact.step([3]).loss, rtol=1e-5)


def test_val_is_read_with_the_backbone_rounded_and_the_head_not():
    student = student_of()
    objective_of(student).recalibrate(student, 8)
    student.eval()
    found = objective_of(student, passes=Passes(student.backbone, exact=4)).validate(student)
    with EightBits():
        classifier = student_classifier(student, VAL_CLIPS)
    wanted = ValEpisodes(VAL_CLIPS, sampler_of(VAL), 12).evaluate(classifier)
    assert torch.equal(torch.as_tensor(found.logits), torch.as_tensor(wanted.logits))
    exact = objective_of(student).validate(student)
    assert not torch.allclose(torch.as_tensor(found.logits), torch.as_tensor(exact.logits), rtol=1e-4)


def test_batch_norm_is_estimated_on_what_is_rounded():
    plain, late = student_of(), student_of()
    objective_of(plain).recalibrate(plain, 8)
    objective_of(late, passes=Passes(late.backbone, exact=4)).recalibrate(late, 8)
    means = [dict(one.named_buffers()) for one in (plain, late)]
    changed = [
        key
        for key in means[0]
        if key.endswith("running_mean") and not torch.equal(*(one[key] for one in means))
    ]
    assert changed
