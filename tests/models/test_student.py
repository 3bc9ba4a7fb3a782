"""The student: branches, one shared head, rows of a list of videos."""

import pytest
import torch
from torch import nn

from litemkd.errors import EpisodeError
from litemkd.models.backbones import Backbone
from litemkd.models.heads import FRAME, TRX
from litemkd.models.student import DISTILL, LABEL, Student

WIDTH, CHANNELS, FRAMES = 6, 5, 4


class Means(nn.Module):
    """A backbone of a few numbers."""

    channels = CHANNELS

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, CHANNELS)

    def forward(self, frames):
        return self.linear(frames.mean((-2, -1)))


def student_of(branches=(DISTILL, LABEL), dropout=0.0, guess=None):
    torch.manual_seed(0)
    head = TRX(WIDTH, width=7, frames=FRAMES, dropout=0.0)
    return Student(Means(), head, width=WIDTH, branches=branches, dropout=dropout, guess=guess)


def episode():
    torch.manual_seed(1)
    frames = torch.rand(7, FRAMES, 3, 8, 8)
    support, labels = torch.tensor([[0, 1, 2, 3], [6, 5, 0, 2]]), torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0]])
    return frames, support, labels, torch.tensor([[4, 5], [1, 3]])


def test_frame_features_keep_videos_and_frames_apart():
    student, (frames, *_) = student_of(), episode()
    features = student.frame_features(frames)
    assert features.shape == (7, FRAMES, CHANNELS)
    for v, t in ((0, 0), (3, 2), (6, 3)):
        torch.testing.assert_close(features[v, t], student.backbone(frames[v, t][None])[0])


def test_logits_of_each_branch_are_the_heads_on_its_features():
    student, (frames, support, labels, query) = student_of(), episode()
    features = student.branch_features(student.frame_features(frames))
    assert {name: x.shape for name, x in features.items()} == dict.fromkeys(
        (DISTILL, LABEL), (7, FRAMES, WIDTH)
    )
    logits = student(features, support, labels, query, 2)
    assert list(logits) == [DISTILL, LABEL]
    for name, x in features.items():
        torch.testing.assert_close(logits[name][FRAME], student.head(x[support], labels, x[query], 2))
    assert not torch.allclose(logits[DISTILL][FRAME], logits[LABEL][FRAME])
    torch.testing.assert_close(student.predict(logits), logits[DISTILL][FRAME] + logits[LABEL][FRAME])


def test_one_branch_predicts_by_itself():
    student, (frames, *rows) = student_of((LABEL,)), episode()
    logits = student(student.branch_features(student.frame_features(frames)), *rows, 2)
    assert list(logits) == [LABEL]
    assert torch.equal(student.predict(logits), logits[LABEL][FRAME])
    assert not any(DISTILL in name for name in student.state_dict())


@pytest.mark.parametrize("branch", [DISTILL, LABEL])
def test_a_branch_teaches_its_own_layer_and_the_shared_parts(branch):
    student, (frames, *rows) = student_of(), episode()
    logits = student(student.branch_features(student.frame_features(frames)), *rows, 2)
    logits[branch][FRAME].pow(2).sum().backward()
    other = LABEL if branch == DISTILL else DISTILL
    assert student.branches[branch].weight.grad.abs().max() > 0
    assert student.branches[other].weight.grad is None
    assert student.backbone.linear.weight.grad.abs().max() > 0
    assert student.head.transformers[0].v_linear.weight.grad.abs().max() > 0


def test_the_guess_is_for_training_only():
    student = student_of(guess=9)
    assert student.guess(student.branch_features(student.frame_features(episode()[0]))[DISTILL]).shape == (
        7,
        FRAMES,
        9,
    )
    assert {"guess.weight", "guess.bias"} <= set(student.state_dict())
    student.drop_training_parts()
    assert set(student.state_dict()) == set(student_of().state_dict())
    student.drop_training_parts()  # once more does no harm


def test_dropout_on_backbone_features_in_training_only():
    student, (frames, *_) = student_of(dropout=0.5), episode()
    features = student.frame_features(frames)
    student.eval()
    assert torch.equal(student.branch_features(features)[LABEL], student.branch_features(features)[LABEL])
    student.train()
    assert not torch.equal(student.branch_features(features)[LABEL], student.branch_features(features)[LABEL])


ROWS = torch.tensor([[0, 1]]), torch.tensor([[0, 1]]), torch.tensor([[2, 3]])
CLIPS = torch.rand(4, 3, 3, 32, 32)
WRONG = {
    "frames of one video": (
        lambda s: s.frame_features(CLIPS[0]),
        "frames: shape (3, 3, 32, 32) given; (V, T, 3, H, W) would do; frames[None] for one video",
    ),
    "frames as they are stored": (
        lambda s: s.frame_features(CLIPS.permute(0, 1, 3, 4, 2)),
        "frames: shape (4, 3, 32, 32, 3) of torch.float32 given; (…, T, 3, H, W) of floating-point numbers",
    ),
    "frames in bytes": (
        lambda s: s.frame_features((CLIPS * 255).byte()),
        "of torch.uint8 given; (…, T, 3, H, W)",
    ),
    "rows that are no numbers of rows": (
        lambda s: s(s.branch_features(s.frame_features(CLIPS)), ROWS[0].float(), *ROWS[1:], 2),
        "support: torch.float32 given; whole numbers would do, for instance torch.int64",
    ),
    "rows of one episode": (
        lambda s: s(s.branch_features(s.frame_features(CLIPS)), *ROWS[:2], ROWS[2][0], 2),
        "query: shape (2,) given; (B, Q) would do; query[None] for one episode",
    ),
    "float labels": (
        lambda s: s(s.branch_features(s.frame_features(CLIPS)), ROWS[0], ROWS[1].float(), ROWS[2], 2),
        "support labels: torch.float32 given; whole numbers would do",
    ),
    "too few labels": (
        lambda s: s(s.branch_features(s.frame_features(CLIPS)), ROWS[0], ROWS[1][:, :1], ROWS[2], 2),
        "support labels: shape (1, 1) given for supports (1, 2, ",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_has_another_form_is_refused_in_words(wrong):
    call, told = WRONG[wrong]
    student = Student(Backbone("conv4"), TRX(8, width=4, frames=3), width=8)
    with pytest.raises(EpisodeError) as refused:
        call(student)
    assert told in str(refused.value)


def test_rows_and_labels_may_be_whole_numbers_of_any_type():
    student = Student(Backbone("conv4"), TRX(8, width=4, frames=3), width=8).eval()
    features = student.branch_features(student.frame_features(CLIPS))
    wanted, found = (student(features, *(x.to(kind) for x in ROWS), 2) for kind in (torch.int64, torch.int32))
    assert all(torch.equal(wanted[name]["frame"], found[name]["frame"]) for name in wanted)
