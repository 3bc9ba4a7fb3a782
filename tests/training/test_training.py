"""The training loop on a small objective of its own: schedules, gradients, resuming, what is kept."""

import math
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from litemkd.config import TrainConfig
from litemkd.errors import CheckpointError, LitemkdError
from litemkd.evaluation.accuracy import Evaluation
from litemkd.models.heads import TRX
from litemkd.runtime.seeding import numpy_generator
from litemkd.storage.checkpoints import load_state
from litemkd.storage.states import CheckpointFolder
from litemkd.training.loop import (
    Step,
    fit,
    make_optimizer,
    set_rate,
    validation_episodes,
)

CPU = torch.device("cpu")
IDENTITY = {"stage": "test", "config": "abc"}


class Recorder:
    """A tracker that keeps what it is told, and may break off."""

    def __init__(self, break_at=None):
        self.told, self.break_at = [], break_at

    def log_metrics(self, metrics, step):
        if self.break_at is not None and step >= self.break_at and "train/loss" in metrics:
            raise KeyboardInterrupt
        self.told.append((step, dict(metrics)))

    def values(self, name):
        return {step: metrics[name] for step, metrics in self.told if name in metrics}


class Regression:
    """Episode n is a point and a target drawn from n; val says what `scores` tells, else the error."""

    def __init__(self, seed=0, dropout=0.0, scores=None, nan_at=None):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1)).double()
        self.scores, self.nan_at = scores, nan_at
        self.numbers, self.validated, self.recalibrated = [], [], []
        self.expected = []

    def loss(self, model, numbers):
        draws = np.stack([numpy_generator(0, "point", number).standard_normal(4) for number in numbers])
        points = torch.from_numpy(draws)
        loss = (model(points[:, :3]) - points[:, :3].prod(1, keepdim=True) - 0.1 * points[:, 3:]).pow(2).mean()
        return loss * math.nan if self.nan_at in numbers else loss

    def expect(self, numbers):
        self.expected.append(list(numbers))

    def step(self, numbers):
        assert self.model.training
        self.numbers.append(list(numbers))
        loss = self.loss(self.model, numbers)
        return Step(loss, {"train/loss": float(loss.detach()), "train/accuracy": float(numbers[0])})

    def recalibrate(self, model, clips):
        assert model is not self.model
        self.recalibrated.append(clips)
        with torch.no_grad():
            model[0].bias.fill_(7.0)

    def validate(self, model):
        assert not model.training
        torch.rand(len(self.validated) + 3)  # whatever validation draws must not reach training
        with torch.no_grad():
            found = 100 - 10 * float(self.loss(model, range(10_000, 10_020)))
        score = found if self.scores is None else self.scores[len(self.validated)]
        self.validated.append({name: weight.clone() for name, weight in model.state_dict().items()})
        accuracies = np.array([score - 1.0, score + 1.0])
        return Evaluation(1, accuracies, np.zeros((1, 1), np.int64), ("a",), 1.0)


def train_of(**changes):
    plain = {
        "episodes": 24,
        "accumulate": 4,
        "validations": 3,
        "lr": 0.05,
        "schedule": "constant",
        "milestones": (),
    }
    return TrainConfig(**(plain | changes))


def run(objective, train, folder, *, tracker=None, identity=IDENTITY, seed=0, resume=False):
    tracker = tracker or Recorder()
    progress = fit(
        objective,
        train,
        seed=seed,
        tracker=tracker,
        checkpoints=CheckpointFolder(folder, identity),
        resume=resume,
    )
    return progress, tracker


def newest(folder):
    """The newest state of a folder."""
    return load_state(CheckpointFolder(folder, IDENTITY).states[0])


def same_weights(one, other):
    one, other = (x.state_dict() if isinstance(x, nn.Module) else x for x in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Schedules


def rate_after(train, episodes):
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}, {"lr": 0.0}])
    set_rate(optimizer, train, episodes)
    assert optimizer.param_groups[0]["lr"] == optimizer.param_groups[1]["lr"]
    return optimizer.param_groups[0]["lr"]


def test_milestones_drop_by_ten_each():
    train = TrainConfig(lr=1.0)
    for episodes, rate in ((0, 1), (19_984, 1), (20_000, 0.1), (39_999, 0.1), (40_000, 0.01), (69_999, 0.01)):
        assert rate_after(train, episodes) == pytest.approx(rate)


def test_constant_stays():
    assert {rate_after(train_of(), episodes) for episodes in (0, 10, 23)} == {0.05}


def test_cosine_falls_from_one_to_nothing():
    train = train_of(lr=1.0, schedule="cosine", episodes=100)
    assert rate_after(train, 0) == 1
    assert rate_after(train, 50) == pytest.approx(0.5)
    assert rate_after(train, 25) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert 0 < rate_after(train, 96) < 0.01


@pytest.mark.parametrize("schedule", ["constant", "cosine", "milestones"])
def test_warm_up_rises_evenly_to_the_full_rate(schedule):
    train = train_of(lr=1.0, schedule=schedule, episodes=100, warmup=20)
    rates = [rate_after(train, episodes) for episodes in range(0, 24, 4)]
    assert rates == pytest.approx([place / 6 for place in range(1, 7)])
    if schedule == "cosine":
        assert rate_after(train, 60) == pytest.approx(0.5)


def test_the_rate_in_use_is_the_one_told(tmp_path):
    train = train_of(lr=1.0, schedule="milestones", milestones=(8, 16))
    _, tracker = run(Regression(), train_of(lr=1e-3, schedule="milestones", milestones=(8, 16)), tmp_path)
    told = tracker.values("train/lr")
    assert list(told) == [4, 8, 12, 16, 20, 24]
    assert list(told.values()) == pytest.approx([1e-3 * rate_after(train, n - 4) for n in told])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"episodes": 24, "accumulate": 4, "validations": 3}, {8, 16, 24}),
        ({"episodes": 24, "accumulate": 4, "validations": 1}, {24}),
        ({"episodes": 24, "accumulate": 4, "validations": 50}, {4, 8, 12, 16, 20, 24}),
        ({"episodes": 22, "accumulate": 4, "validations": 2}, {12, 22}),
        ({"episodes": 5, "accumulate": 4, "validations": 4}, {4, 5}),
        ({"episodes": 70_000, "accumulate": 16, "validations": 2}, {35_008, 70_000}),
    ],
)
def test_val_is_read_evenly_and_at_the_end(changes, expected):
    assert validation_episodes(train_of(**changes)) == expected


# Optimisers


def test_weight_decay_spares_biases_and_norms():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Conv2d(1, 1, 1))
    model[2].requires_grad_(False)
    for name, kind in (("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        optimizer = make_optimizer(model, train_of(optimizer=name, weight_decay=0.1))
        assert type(optimizer) is kind
        wide, narrow = optimizer.param_groups
        assert [p.shape for p in wide["params"]] == [(4, 3)]  # the frozen layer is left out
        assert wide["weight_decay"] == 0.1
        assert [p.shape for p in narrow["params"]] == [(4,)] * 3
        assert narrow["weight_decay"] == 0


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_accumulation_is_the_gradient_of_one_big_batch(tmp_path, batch):
    train = train_of(
        episodes=10, accumulate=4, batch=batch, validations=1, momentum=0.9
    )  # the last step is shorter
    objective = Regression()
    _, tracker = run(objective, train, tmp_path)

    by_hand = Regression()
    optimizer = torch.optim.SGD(by_hand.model.parameters(), lr=0.05, momentum=0.9)
    losses = {}
    for numbers in (range(4), range(4, 8), range(8, 10)):
        optimizer.zero_grad()
        loss = by_hand.loss(by_hand.model, numbers)
        loss.backward()
        optimizer.step()
        losses[numbers.stop] = loss.item()
    for one, other in zip(objective.model.parameters(), by_hand.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert tracker.values("train/loss") == pytest.approx(losses)
    assert [n for numbers in objective.numbers for n in numbers] == list(range(10))
    assert max(map(len, objective.numbers)) == batch


def test_clip_norm_bounds_the_step(tmp_path):
    before = Regression()
    objective = Regression()
    run(objective, train_of(episodes=4, clip_norm=0.01, lr=1.0, validations=1), tmp_path)
    change = [
        (a - b).flatten() for a, b in zip(objective.model.parameters(), before.model.parameters(), strict=True)
    ]
    assert float(torch.cat(change).detach().norm()) == pytest.approx(0.01, rel=1e-3)


# What is told and what is kept


def test_metrics_steps_and_history(tmp_path):
    progress, tracker = run(Regression(scores=[50.0, 70.0, 60.0]), train_of(), tmp_path)
    assert tracker.values("val/accuracy") == {8: 50, 16: 70, 24: 60}
    half = 1.96 * math.sqrt(2) / math.sqrt(2)
    assert list(tracker.values("val/accuracy_ci95").values()) == pytest.approx([half] * 3)
    assert progress.episodes == 24
    assert (progress.best_accuracy, progress.best_episode) == (70, 16)
    assert progress.best_ci95 == pytest.approx(half)
    assert [(record["episodes"], record["accuracy"]) for record in progress.history] == [
        (8, 50),
        (16, 70),
        (24, 60),
    ]


@pytest.mark.parametrize(("scores", "best"), [([50, 70, 60], 1), ([70, 70, 60], 0), ([1, 2, 3], 2)])
@pytest.mark.parametrize("average", [0.0, 0.5])
def test_the_model_ends_with_the_best_weights(tmp_path, scores, best, average):
    objective = Regression(scores=scores)
    progress, _ = run(objective, train_of(average=average), tmp_path)
    assert progress.best_episode == 8 * (best + 1)
    assert same_weights(objective.model, objective.validated[best])
    saved = load_state(tmp_path / "best.pt")
    assert saved["episodes"] == progress.best_episode
    assert same_weights(saved["model"], objective.validated[best])
    assert not same_weights(objective.validated[0], objective.validated[1])


def test_the_average_is_what_is_validated(tmp_path):
    plain, averaged = Regression(), Regression()
    train = train_of(validations=6)
    run(plain, train, tmp_path / "a")
    run(averaged, train_of(validations=6, average=0.75), tmp_path / "b")
    mean = plain.validated[0]  # the average begins with the first step's weights
    for place, weights in enumerate(plain.validated):
        if place:
            mean = {name: 0.75 * mean[name] + 0.25 * weights[name] for name in mean}
        for name, value in mean.items():
            torch.testing.assert_close(averaged.validated[place][name], value, rtol=1e-6, atol=1e-9)


class WithHead(Regression):
    """Has a head, whose tuples are whole numbers in a buffer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(*self.model, nn.BatchNorm1d(1).double())
        self.model.head = TRX(2, width=2, frames=8, tuples=(2, 3))

    def loss(self, model, numbers):
        layers = list(model.children())[:5]
        draws = np.stack([numpy_generator(0, "point", number).standard_normal(3) for number in numbers])
        x = torch.from_numpy(draws)
        for layer in layers:
            x = layer(x)
        return x.pow(2).mean() + layers[0].weight.pow(2).mean()


@pytest.mark.parametrize("average", [0.5, 0.9, 0.99, 0.999])
def test_averaging_leaves_whole_numbers_whole(tmp_path, average):
    objective = WithHead()
    head = objective.model.head
    expected = [part.k_linear.tuples.clone() for part in head.transformers]
    seen = []
    validate = objective.validate

    def spy(model):
        seen.append([part.k_linear.tuples.clone() for part in model.head.transformers])
        return validate(model)

    objective.validate = spy
    run(objective, train_of(average=average, batch=4), tmp_path)
    for tuples in seen:
        for one, other in zip(tuples, expected, strict=True):
            assert torch.equal(one, other)
    assert len(seen) == 3


def test_recalibration_is_of_a_copy_and_is_kept(tmp_path):
    objective, plain = Regression(scores=[1, 2, 3]), Regression(scores=[1, 2, 3])
    run(objective, train_of(recalibrate=5), tmp_path / "a")
    run(plain, train_of(), tmp_path / "b")
    assert objective.recalibrated == [5, 5, 5]
    assert plain.recalibrated == []
    assert (objective.validated[0]["0.bias"] == 7).all()
    assert (objective.model[0].bias == 7).all()  # the best on val, as it was validated
    for name in ("0.weight", "3.weight"):  # and training went on from weights that were not touched
        assert torch.equal(objective.model.state_dict()[name], plain.model.state_dict()[name])


def test_training_does_not_depend_on_how_often_val_is_read(tmp_path):
    one, other = Regression(dropout=0.3), Regression(dropout=0.3)
    scores = list(range(10))
    one.scores = other.scores = scores
    run(one, train_of(validations=1), tmp_path / "a")
    run(other, train_of(validations=6), tmp_path / "b")
    assert same_weights(one.model, other.model)


def test_the_seed_decides_dropout(tmp_path):
    models = []
    for place, seed in enumerate((0, 0, 1)):
        objective = Regression(dropout=0.3, scores=[1, 2, 3])
        torch.rand(place)  # the state of the global generator does not count
        run(objective, train_of(), tmp_path / str(place), seed=seed)
        models.append(objective.model)
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


# Faults


@pytest.mark.parametrize("batch", [1, 2])
def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path, batch):
    objective = Regression(nan_at=14)
    with pytest.raises(
        LitemkdError, match="the loss became nan at episode 14; a smaller lr, a warm-up or clip_norm"
    ):
        run(objective, train_of(batch=batch), tmp_path)
    saved = newest(tmp_path)  # of the last validation, before the fault
    assert saved["progress"]["episodes"] == 8
    assert all(torch.isfinite(weight).all() for weight in saved["model"].values())


RUNS = {
    "sgd with momentum and dropout": {"momentum": 0.9, "dropout": 0.3},
    "adamw, cosine, warm-up, clipped": {
        "optimizer": "adamw",
        "lr": 0.01,
        "weight_decay": 0.1,
        "schedule": "cosine",
        "warmup": 8,
        "clip_norm": 1.0,
        "dropout": 0.3,
    },
    "averaged": {"optimizer": "adam", "lr": 0.02, "average": 0.8, "batch": 2},
    "recalibrated": {"momentum": 0.9, "recalibrate": 3},
}


@pytest.mark.parametrize("break_at", [12, 20, 24])  # val is read after 8, 16 and 24
@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, settings, break_at):
    settings = dict(settings)
    dropout = settings.pop("dropout", 0.0)
    train = train_of(**settings)
    whole = Regression(dropout=dropout)
    progress, tracker = run(whole, train, tmp_path / "whole")

    broken = Recorder(break_at)
    with pytest.raises(KeyboardInterrupt):
        run(Regression(dropout=dropout), train, tmp_path / "parts", tracker=broken)
    last = 8 * ((break_at - 1) // 8)
    second = Regression(seed=99, dropout=dropout)  # other weights to begin with
    torch.rand(17)
    resumed, rest = run(second, train, tmp_path / "parts", resume=True)

    assert same_weights(whole.model, second.model)
    assert resumed == progress
    assert rest.told == tracker.told  # what was told before is told once more
    assert broken.told == [item for item in tracker.told if item[0] < break_at]
    assert second.numbers[0][0] == last
    assert same_weights(newest(tmp_path / "whole")["model"], newest(tmp_path / "parts")["model"])
    best = [load_state(tmp_path / name / "best.pt")["model"] for name in ("whole", "parts")]
    assert same_weights(*best)


def test_breaking_off_more_than_once(tmp_path):
    train = train_of(momentum=0.9)
    whole = Regression(dropout=0.3)
    run(whole, train, tmp_path / "whole")
    for break_at in (12, 16, 20):
        with pytest.raises(KeyboardInterrupt):
            run(Regression(dropout=0.3), train, tmp_path / "parts", tracker=Recorder(break_at), resume=True)
    last = Regression(dropout=0.3)
    run(last, train, tmp_path / "parts", resume=True)
    assert same_weights(whole.model, last.model)


def test_resuming_a_finished_run_trains_no_more(tmp_path):
    first, again = Regression(scores=[1, 3, 2]), Regression(seed=5)
    progress, told = run(first, train_of(), tmp_path)
    resumed, tracker = run(again, train_of(), tmp_path, resume=True)
    assert same_weights(first.model, again.model)
    assert resumed == progress
    assert tracker.told == told.told
    assert again.numbers == again.validated == []


def test_resuming_with_nothing_there_starts_anew(tmp_path):
    one, other = Regression(), Regression()
    run(one, train_of(), tmp_path / "a")
    run(other, train_of(), tmp_path / "b", resume=True)
    assert same_weights(one.model, other.model)


def test_without_resume_an_old_state_has_no_say(tmp_path):
    run(Regression(seed=5, scores=[99, 99, 99]), train_of(lr=0.5), tmp_path)
    one, other = Regression(), Regression()
    run(one, train_of(), tmp_path)
    run(other, train_of(), tmp_path / "clean")
    assert same_weights(one.model, other.model)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run(Regression(), train_of(), tmp_path)
    with pytest.raises(
        CheckpointError, match=r"state-.*\.pt: of another configuration .*abc.*wanted .*xyz.*leave out"
    ):
        run(Regression(), train_of(), tmp_path, identity=IDENTITY | {"config": "xyz"}, resume=True)
    assert newest(tmp_path)["identity"] == IDENTITY


# Batches


def test_dropout_of_a_batch_depends_on_its_first_episode_alone(tmp_path):
    """However many batches a step has, and whoever works on the others."""
    seen = []
    for accumulate in (2, 4):
        objective, draws = Regression(scores=[1, 2, 3]), {}
        loss = objective.loss
        objective.loss = lambda model, numbers, loss=loss, draws=draws: (
            draws.setdefault(numbers[0], float(torch.rand(()))),
            loss(model, numbers),
        )[1]
        run(objective, train_of(accumulate=accumulate, batch=2, validations=1), tmp_path / str(accumulate))
        seen.append({first: value for first, value in draws.items() if first < 10_000})
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == 12


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_what_comes_next_is_told_before(tmp_path, batch):
    objective = Regression()
    run(objective, train_of(episodes=10, batch=batch, validations=2), tmp_path)
    assert objective.expected == objective.numbers[1:]


def test_how_fast_it_went_is_told_with_what_bounded_it(tmp_path, caplog):
    caplog.set_level("INFO")
    slow = Regression()
    step = slow.step

    def waits(numbers):
        time.sleep(0.02)
        return replace(step(numbers), waited=0.02)

    slow.step = waits
    told = {}
    for name, objective in (("quick", Regression()), ("waiting", slow)):
        train = TrainConfig(episodes=8, accumulate=2, batch=2, validations=1)
        folder = CheckpointFolder(tmp_path / name, IDENTITY)
        told[name] = fit(objective, train, seed=0, tracker=Recorder(), checkpoints=folder, label=name).speed
    assert set(told["quick"]) == {
        f"speed/{name}"
        for name in ("train_episodes_per_second", "gpu_busy_percent", "waiting_for_data_percent")
    }
    assert told["quick"]["speed/waiting_for_data_percent"] == told["quick"]["speed/gpu_busy_percent"] == 0
    assert 50 < told["waiting"]["speed/waiting_for_data_percent"] <= 100
    assert 0 < told["waiting"]["speed/train_episodes_per_second"] < 2 / 0.02
    assert "quick: " in caplog.text
    assert "bounded by device: the processor" in caplog.text
    assert "bounded by data" in caplog.text
