"""How large the works are: in full, and tiny, to see that everything runs."""

from __future__ import annotations

from dataclasses import dataclass

T = 8  # frames of a clip
WAY = 5


@dataclass(frozen=True)
class Sizes:
    """Sizes of data, models and works.

    Attributes:
        height, width, crop: of frames in pixels, and of the square that models see.
        clips: different clips of that size that are made.
        small: side of the frames of the clips whose codes episodes are drawn from, pixels.
        test_clips: of those.
        encoded: clips that are encoded in a repetition.
        episodes: a repetition of the 10,000-episode test has a quarter of them.
        slow_episodes: of the published way in a repetition, 30 clips each.
        looped: episodes of the published head in a repetition.
        shot, queries: of the training episode that is read, and of the head's.
        step_shot: and queries, of the training episode that the steps take.
        dim, head_width: of the branches, and of TRX's keys and values.
        steps, slow_steps, step: tracked training steps in a repetition, and the seconds of one.
        toy_clips: a class, of the toy data that trials are run on.
        taught: episodes of their teacher, which may be a poor one.
        trial, shared, trial_val: training episodes of a trial, of one that workers share, and val episodes.
    """

    height: int = 256
    width: int = 340
    crop: int = 224
    clips: int = 128
    small: int = 32
    test_clips: int = 1292
    encoded: int = 32
    episodes: int = 10_000
    slow_episodes: int = 5
    looped: int = 10
    shot: int = 5
    queries: int = 5
    step_shot: int = 1
    dim: int = 2048
    head_width: int = 1152
    steps: int = 100
    slow_steps: int = 25
    step: float = 0.1
    toy_clips: int = 8
    taught: int = 4
    trial: int = 300
    shared: int = 60
    trial_val: int = 500


FULL = Sizes()
TINY = Sizes(
    height=72,
    width=96,
    crop=64,
    clips=64,
    small=16,
    test_clips=70,
    encoded=4,
    episodes=40,
    slow_episodes=1,
    looped=2,
    shot=2,
    queries=1,
    dim=32,
    head_width=16,
    steps=3,
    slow_steps=2,
    step=0.01,
    toy_clips=6,
    taught=2,
    trial=4,
    shared=4,
    trial_val=8,
)
