"""`python -m benchmarks.loop`: the training loop against its bare backbone, in eight minutes of a GPU at most.

One process times, one after another: how long commands take to start; 10,000 test episodes; a backbone's
forward and backward pass on frames that lie on the device, eager and compiled; and the steps of
`litemkd student` on as many frames, on labels alone, from raw and from encoded packs. Data is made up;
nothing is needed but litemkd.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import torch

from benchmarks.data import large_clips, small_clips
from benchmarks.making import config_of, source, student_of
from benchmarks.sizes import FULL, TINY, WAY, Sizes, T
from benchmarks.work import Setting
from litemkd.data.episodes import EpisodeSampler
from litemkd.data.packs.clips import Augmentation
from litemkd.data.packs.encoded import ENCODED
from litemkd.data.packs.pack import FramePack, Making, build_pack
from litemkd.evaluation.accuracy import ValEpisodes, evaluate
from litemkd.evaluation.embedding import student_classifier
from litemkd.losses import LABELS
from litemkd.models.backbones import Backbone
from litemkd.runtime.stopping import held_back
from litemkd.stages.build import build_device
from litemkd.storage.states import CheckpointFolder
from litemkd.training.loop import Training
from litemkd.training.objectives import StudentObjective

BACKBONES = ("resnet18", "mobilenet_v3_large", "resnet50")
COMMANDS = (("--help",), ("cost", "--preset", "published"), ("cost", "--preset", "published"))


class Nothing:
    """A tracker that keeps nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Let go."""


def seconds(run: Callable[[], object], device: torch.device, times: int, warm_up: int = 3) -> float:
    """Seconds of a run, the mean of several, until the device has finished."""

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(warm_up):
        run()
    finish()
    begun = time.perf_counter()
    for _ in range(times):
        run()
    finish()
    return (time.perf_counter() - begun) / times


def bare(backbone: str, setting: Setting, device: torch.device, *, compiled: bool, times: int) -> float:
    """Seconds of a backbone, forwards and backwards, on the frames of an episode."""
    features = Backbone(backbone, weights="none").to(device).features
    run = torch.compile(features) if compiled else features
    side, frames = setting.sizes.crop, WAY * (setting.sizes.shot + setting.sizes.queries) * T
    pixels = torch.rand(frames, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = run(pixels).float().mean()
        loss.backward()

    return seconds(step, device, times)


def loop(
    backbone: str, setting: Setting, device: torch.device, pack: FramePack, times: int
) -> tuple[float, str]:
    """Seconds of a training step of an episode, and what is told of the speed."""
    sizes = setting.sizes
    clips = source(setting, pack, large_clips(setting.folder, sizes).split, device)
    sampler = EpisodeSampler(clips.split, way=WAY, shot=sizes.shot, queries=sizes.queries, seed=0)
    student = student_of(setting, backbone, device)
    objective = StudentObjective(
        student,
        clips=clips,
        sampler=sampler,
        loss=LABELS,
        augmentation=Augmentation(),
        val=ValEpisodes(clips, sampler, 1),
    )
    section = config_of(setting, backbone).student.train
    train = section.model_copy(update={"episodes": 10_000, "accumulate": 1, "batch": 1, "amp": True})
    folder = CheckpointFolder(setting.folder / "states", {})
    training = Training(objective, train, 0, Nothing(), folder, backbone)
    with held_back() as stop:

        def step() -> None:
            with training.speed.steps():
                training.step(stop)
            training.speed.episodes += 1

        taken = seconds(step, device, times)
    return taken, training.speed.words


def episodes(setting: Setting, device: torch.device) -> tuple[float, float]:
    """Seconds that features of all test clips take, and that 10,000 episodes of five shots then take."""
    small = small_clips(setting.folder, setting.sizes)
    clips = source(setting, small.pack, small.split, device, setting.sizes.small)
    sampler = EpisodeSampler(small.split, way=WAY, shot=5, queries=1, seed=0)
    begun = time.perf_counter()
    classify = student_classifier(student_of(setting, "resnet18", device), clips)
    encoded = time.perf_counter() - begun
    begun = time.perf_counter()
    evaluate(classify, sampler, range(setting.sizes.episodes))
    return encoded, time.perf_counter() - begun


@click.command()
@click.option(
    "--minutes", type=float, default=8.0, show_default=True, help="Parts that would begin later are left."
)
@click.option("--steps", type=int, default=20, show_default=True, help="Timed steps of each kind.")
@click.option("--tiny", is_flag=True, help="Tiny sizes, to see that everything runs: the figures say nothing.")
def main(minutes: float, steps: int, tiny: bool) -> None:
    """Time the training loop against its bare backbone on this machine's GPU, or processor."""
    end = time.monotonic() + 60 * minutes
    sizes: Sizes = TINY if tiny else FULL
    device = build_device(config_of(Setting(Path(), torch.get_num_threads(), _device(), sizes), "resnet18"))
    click.echo(f"{torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu'}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory(prefix="litemkd-loop-") as folder:
        setting = Setting(Path(folder), torch.get_num_threads(), device.type, sizes)
        for words in COMMANDS:
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-m", "litemkd", *words], check=True, capture_output=True)
            click.echo(f"litemkd {' '.join(words)}: {time.perf_counter() - begun:.1f} s")
        click.echo(
            "features of test clips {:.2f} s, then all test episodes {:.2f} s".format(
                *episodes(setting, device)
            )
        )
        made = large_clips(setting.folder, sizes)
        encoded = build_pack(setting.folder / "large", "rgb", T, made.pack.names, None, how=Making(ENCODED))
        for backbone in ("resnet18",) if tiny else BACKBONES:
            if time.monotonic() > end:
                click.echo(f"{backbone}: left out, {minutes:g} minutes are over")
                continue
            alone = bare(backbone, setting, device, compiled=False, times=steps)
            click.echo(f"{backbone}: bare, eager {1 / alone:.2f} episodes/s")
            if device.type == "cuda":
                compiled = bare(backbone, setting, device, compiled=True, times=steps)
                click.echo(f"{backbone}: bare, compiled {1 / compiled:.2f} episodes/s")
            for form, pack in (("raw", made.pack), ("encoded", encoded)):
                taken, told = loop(backbone, setting, device, pack, steps)
                share = 100 * alone / taken
                click.echo(f"{backbone}: loop, {form} pack: {share:.0f} % of the bare one's speed; {told}")


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    main()
