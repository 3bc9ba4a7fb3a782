"""A training that is told to stop, in the middle of whatever it does, loses nothing of it."""

import os
import signal

import pytest
import torch
from torch import nn

from litemkd.errors import Terminated
from litemkd.runtime.stopping import held_back
from litemkd.storage.states import CheckpointFolder
from litemkd.training.loop import fit
from tests.training.test_training import IDENTITY, Recorder, Regression, newest, same_weights, train_of

TRAIN = {"episodes": 24, "accumulate": 4, "batch": 1, "validations": 3, "momentum": 0.9}  # val after 8, 16, 24


class Normed(Regression):
    """Batch norm sees every batch, so a step that is left in its middle has changed the model."""

    def __init__(self, seed=0, signals=None, **settings):
        super().__init__(seed, **settings)
        torch.manual_seed(seed)
        layers = (nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))
        self.model = nn.Sequential(*layers).double()
        self.signals = signals or {}

    def loss(self, model, numbers):
        return super().loss(model, [*numbers, *(number + 5000 for number in numbers)])  # two points at least

    def step(self, numbers):
        step = super().step(numbers)
        if (sent := self.signals.pop(numbers[0], None)) is not None:
            os.kill(os.getpid(), sent)
        return step

    def validate(self, model):
        if (sent := self.signals.pop(f"val {len(self.validated)}", None)) is not None:
            os.kill(os.getpid(), sent)
        return super().validate(model)


@pytest.fixture(autouse=True)
def terminated():
    """SIGTERM as the command line has it."""

    def end(signum, frame):
        raise Terminated(signum)

    before = signal.signal(signal.SIGTERM, end)
    yield end
    assert signal.getsignal(signal.SIGTERM) is end
    signal.signal(signal.SIGTERM, before)


def train(objective, folder, *, tracker=None, resume=False, seconds=3600.0, **changes):
    tracker = tracker or Recorder()
    progress = fit(
        objective,
        train_of(**(TRAIN | changes)),
        seed=0,
        tracker=tracker,
        checkpoints=CheckpointFolder(folder, IDENTITY, seconds=seconds),
        resume=resume,
    )
    return progress, tracker


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that is not interrupted: its model, its progress, and what it told."""
    objective = Normed()
    progress, tracker = train(objective, tmp_path_factory.mktemp("whole"))
    return objective.model, progress, tracker.told


@pytest.mark.parametrize(
    ("signals", "saved", "validations"),
    [
        ({5: signal.SIGTERM}, 4, 0),  # in a step: its first batches are done once more
        ({6: signal.SIGINT}, 4, 0),
        ({7: signal.SIGTERM}, 8, 0),  # in its last batch: the step is ended first
        ({"val 0": signal.SIGTERM}, 8, 0),  # in a validation, which is begun anew
        ({"val 2": signal.SIGINT}, 24, 2),
        ({9: signal.SIGTERM}, 8, 1),  # after one
    ],
)
def test_told_to_stop_the_state_is_saved_and_gone_on_with(tmp_path, whole, signals, saved, validations):
    (sent,) = signals.values()
    broken = Normed(signals=dict(signals))
    with pytest.raises((KeyboardInterrupt, Terminated)) as caught:
        train(broken, tmp_path)
    assert isinstance(caught.value, KeyboardInterrupt) is (sent == signal.SIGINT)
    state = newest(tmp_path)
    assert state["progress"]["episodes"] == saved
    assert len(state["progress"]["history"]) == len(broken.validated) == validations

    second = Normed(seed=9)
    progress, tracker = train(second, tmp_path, resume=True)
    assert second.numbers[0][0] == saved if saved < 24 else second.numbers == []
    assert (progress, tracker.told) == whole[1:]
    assert same_weights(second.model, whole[0])


def test_told_again_and_again(tmp_path, whole):
    """At every batch and every validation of one training."""
    told = 0
    for place in (*range(24), "val 0", "val 1", "val 2"):
        objective = Normed(seed=place if isinstance(place, int) else 99, signals={place: signal.SIGTERM})
        try:
            train(objective, tmp_path, resume=True)
        except Terminated:
            told += 1
        else:
            break
    assert told == 24 + 1  # the validation at the end is the last thing, those before were passed meanwhile
    last = Normed(seed=5)
    progress, tracker = train(last, tmp_path, resume=True)
    assert (progress, tracker.told) == whole[1:]
    assert same_weights(last.model, whole[0])


@pytest.mark.parametrize("break_at", [4, 12, 16, 20])
def test_killed_it_goes_on_from_the_last_state(tmp_path, whole, break_at):
    """With a state after each step; killed after it, before the step was told of."""
    with pytest.raises(KeyboardInterrupt):
        train(Normed(), tmp_path, tracker=Recorder(break_at), seconds=0.0)
    second = Normed(seed=9)
    progress, tracker = train(second, tmp_path, resume=True)
    assert second.numbers[0][0] == break_at - 4
    assert (progress, tracker.told) == whole[1:]
    assert same_weights(second.model, whole[0])


def test_ctrl_c_after_another_signal_is_taken_at_once(terminated):
    with held_back() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.told
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is terminated


def test_a_signal_that_ends_the_process_is_left_alone():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with held_back():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_settings_that_changed_are_the_new_ones(tmp_path):
    """Of the same optimiser its state goes on, with the new decay; of another one it begins anew."""
    with pytest.raises(KeyboardInterrupt):
        train(Normed(), tmp_path, tracker=Recorder(16), seconds=0.0, weight_decay=0.1)
    states = newest(tmp_path)
    objective = Normed(seed=3)
    train(objective, tmp_path, resume=True, weight_decay=0.5, lr=0.01)
    assert objective.numbers[0][0] == 12
    groups = newest(tmp_path)["optimizer"]["param_groups"]
    assert (states["optimizer"]["param_groups"][0]["weight_decay"], groups[0]["weight_decay"]) == (0.1, 0.5)
    assert groups[0]["lr"] == 0.01
    progress, _ = train(Normed(), tmp_path, resume=True, optimizer="adam", episodes=32)
    assert progress.episodes == 32
    assert newest(tmp_path)["kind"] == "adam"
