"""Works of evaluation: the test of a student on 10,000 episodes, the episodes alone, MACs of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.data import Clips, large_clips, small_clips
from benchmarks.making import config_of, our_device, source, student_of, their_device
from benchmarks.published.frames import FrameFolders
from benchmarks.published.student import TwoPassStudent
from benchmarks.published.trx import LoopTRX
from benchmarks.sizes import WAY, Sizes
from benchmarks.work import Part, Setting, Side, Work
from litemkd.data.episodes import Episodes, EpisodeSampler
from litemkd.data.packs.clips import ClipSource
from litemkd.data.splits import Split, make_split
from litemkd.evaluation.accuracy import Classifier, Evaluation, evaluate
from litemkd.evaluation.embedding import branch_embeddings, student_classifier
from litemkd.models.heads.trx import TRX
from litemkd.models.student import Student
from litemkd.stages.cost import student_cost

SHOT = 5
BACKBONE = "resnet18"


def _sampler(split: Split) -> EpisodeSampler:
    return EpisodeSampler(split, way=WAY, shot=SHOT, queries=1, seed=0)


def _one_episode(clips: Clips) -> Split:
    """Clips for one episode and no more: those of five classes, six of each."""
    names: list[str] = []
    for one in clips.split.classes[:WAY]:
        names += [video for video in clips.split.videos if video.startswith(f"{one}/")][: SHOT + 1]
    return make_split("train", names)


def _our_logits(setting: Setting, student: Student, device: torch.device) -> Tensor:
    """Logits (Q, W) of one episode."""
    clips = large_clips(setting.folder, setting.sizes)
    split = _one_episode(clips)
    classify = student_classifier(student, source(setting, clips.pack, split, device))
    with torch.inference_mode():
        return classify(_sampler(split)[[0]])[0].cpu()


def _their_logits(setting: Setting, model: TwoPassStudent, device: torch.device) -> Tensor:
    clips = large_clips(setting.folder, setting.sizes)
    split = _one_episode(clips)
    folders = FrameFolders(clips.jpegs, split.videos, setting.sizes.crop)
    return _encode_and_match(model, folders, _sampler(split)[[0]], split.videos, device).cpu()


def _encode_and_match(
    model: TwoPassStudent,
    folders: FrameFolders,
    episode: Episodes,
    videos: tuple[str, ...],
    device: torch.device,
) -> Tensor:
    """Logits (Q, W) of an episode: every clip read and encoded."""
    support, query = (
        torch.stack([folders.centred(videos[row]) for row in rows]).to(device)
        for rows in (episode.support[0], episode.query[0])
    )
    with torch.no_grad():
        logits = model(support, torch.from_numpy(episode.support_labels[0]).to(device), query)
    return torch.stack(list(logits.values())).sum(0)


def _accuracy(logits: Tensor, episode: Episodes) -> float:
    return float((logits.argmax(-1).cpu().numpy() == episode.query_labels[0]).mean())


class _SmallClips:
    """As many clips as the test has, of small frames, and a sampler of its episodes."""

    def __init__(self, setting: Setting, device: torch.device) -> None:
        small = small_clips(setting.folder, setting.sizes)
        self.source: ClipSource = source(setting, small.pack, small.split, device, setting.sizes.small)
        self.sampler = _sampler(small.split)


def _numbers(repetition: int, count: int) -> range:
    return range(repetition * count, (repetition + 1) * count)


def our_test(setting: Setting) -> Side:
    device, sizes = our_device(setting), setting.sizes
    student = student_of(setting, BACKBONE, device)
    small = _SmallClips(setting, device)
    classify = student_classifier(student, small.source)
    clips = large_clips(setting.folder, sizes)

    def encode(repetition: int) -> None:
        places = [n % sizes.clips for n in _numbers(repetition, sizes.encoded)]
        split = make_split("test", [clips.split.videos[n] for n in places])
        student_classifier(student, source(setting, clips.pack, split, device))

    def test(repetition: int) -> None:
        evaluate(classify, small.sampler, _numbers(repetition, sizes.episodes // 4))

    return Side(
        lambda: {"logits": _our_logits(setting, student, device)},
        (Part(encode, sizes.test_clips / sizes.encoded), Part(test, 4)),
    )


def their_test(setting: Setting) -> Side:
    device, sizes = their_device(setting), setting.sizes
    model = TwoPassStudent(student_of(setting, BACKBONE, device))
    clips = large_clips(setting.folder, sizes)
    folders = FrameFolders(clips.jpegs, clips.split.videos, sizes.crop)
    sampler = _sampler(small_clips(setting.folder, sizes).split)
    videos = tuple(clips.split.videos[n % sizes.clips] for n in range(sizes.test_clips))

    def test(repetition: int) -> None:
        for number in _numbers(repetition, sizes.slow_episodes):
            episode = sampler[[number]]
            _accuracy(_encode_and_match(model, folders, episode, videos, device), episode)

    return Side(
        lambda: {"logits": _their_logits(setting, model, device)},
        (Part(test, sizes.episodes / sizes.slow_episodes),),
    )


def our_episodes(setting: Setting) -> Side:
    device = our_device(setting)
    small = _SmallClips(setting, device)
    classify = student_classifier(student_of(setting, BACKBONE, device), small.source)

    def answer() -> Mapping[str, Tensor]:
        with torch.inference_mode():
            return {"logits": classify(small.sampler[[0]])[0].cpu()}

    def test(repetition: int) -> None:
        evaluate(classify, small.sampler, _numbers(repetition, setting.sizes.episodes // 10))

    return Side(answer, (Part(test),))


def their_episodes(setting: Setting) -> Side:
    device, sizes = their_device(setting), setting.sizes
    student = student_of(setting, BACKBONE, device)
    small = _SmallClips(setting, device)
    features = branch_embeddings(student, small.source)
    assert isinstance(student.head, TRX)
    head = LoopTRX(student.head)

    def match(episode: Episodes) -> Tensor:
        support, labels, query = (
            torch.from_numpy(x[0]).to(device) for x in (episode.support, episode.support_labels, episode.query)
        )
        with torch.no_grad():
            logits = [head(x[support], labels, x[query]) for x in features.values()]
        return torch.stack(logits).sum(0)

    def test(repetition: int) -> None:
        for number in _numbers(repetition, sizes.looped):
            episode = small.sampler[[number]]
            _accuracy(match(episode), episode)

    return Side(
        lambda: {"logits": match(small.sampler[[0]]).cpu()},
        (Part(test, sizes.episodes / 10 / sizes.looped),),
    )


def our_many(setting: Setting) -> Side:
    return _many(setting, lambda classify: classify)


def plain_many(setting: Setting) -> Side:
    return _many(setting, lambda classify: lambda episodes: classify(episodes))  # which hides what it can do


def _many(setting: Setting, as_given: Callable[[Classifier], Classifier]) -> Side:
    """Episodes of one classifier, what they share made anew each time, where anything is."""
    device, count = our_device(setting), setting.sizes.episodes
    small = _SmallClips(setting, device)
    student = student_of(setting, BACKBONE, device)

    def test(numbers: range) -> Evaluation:
        return evaluate(as_given(student_classifier(student, small.source)), small.sampler, numbers)

    def answer() -> Mapping[str, np.ndarray]:
        return {"accuracies": test(range(count // 10)).accuracies}

    return Side(answer, (Part(lambda repetition: test(_numbers(repetition, count))),))


def our_macs(setting: Setting, backbone: str) -> Side:
    device = our_device(setting)
    student = student_of(setting, backbone, device)
    return _macs(setting, backbone, "", lambda: _our_logits(setting, student, device))


def their_macs(setting: Setting, backbone: str) -> Side:
    device = their_device(setting)
    model = TwoPassStudent(student_of(setting, backbone, device))
    return _macs(setting, backbone, "_plain", lambda: _their_logits(setting, model, device))


def _macs(setting: Setting, backbone: str, form: str, logits: Callable[[], Tensor]) -> Side:
    config = config_of(setting, backbone)
    counted = Part(lambda _: student_cost(config, latency=False)[f"cost/gmacs_per_episode{form}"])
    return Side(lambda: {"logits": logits()}, (counted,))


def works(sizes: Sizes) -> list[Work]:
    """The works of this file."""
    encoded, slow = 4 * sizes.encoded, 4 * sizes.slow_episodes
    return [
        Work(
            "test",
            f"{sizes.episodes:,}-episode test of ResNet18, {sizes.test_clips:,} clips, encoding included",
            our_test,
            their_test,
            f"published: {slow} episodes, extrapolated; litemkd: encoding of {encoded} clips, extrapolated, "
            f"and all {sizes.episodes:,} episodes",
            at_least=200,
            tolerance=1e-3,
            repetitions=4,
            warm_up=0,
        ),
        Work(
            "episodes",
            f"{sizes.episodes // 10:,} episodes from cached embeddings",
            our_episodes,
            their_episodes,
            f"published: {sizes.looped} episodes, extrapolated; litemkd: all",
            at_least=30,
            at_most=sizes.episodes / 10 / 200,
            tolerance=1e-3,
        ),
        Work(
            "many-episodes",
            f"{sizes.episodes:,} {SHOT}-shot episodes, TRX behind 512 channels, encoding small clips included",
            our_many,
            plain_many,
            "in the place of the published way: litemkd without tables; the same accuracies",
            at_least=1.5,
            repetitions=1,
            warm_up=0,
        ),
        *(
            Work(
                f"macs-{size}",
                f"GMACs of an evaluation episode, MobileNetV3-{size}, two branches",
                partial(our_macs, backbone=f"mobilenet_v3_{size}"),
                partial(their_macs, backbone=f"mobilenet_v3_{size}"),
                "counted as thop does",
                at_most=at_most,
                tolerance=1e-3,
                unit="GMACs",
                repetitions=1,
                warm_up=0,
            )
            for size, at_most in (("large", 54), ("small", 15))
        ),
    ]
