"""`python -m benchmarks.watching`: what `watch` costs a frame, and whether its memory stays bounded.

A student of random weights, which changes nothing in how long it takes, is exported to ONNX and watches a film
that was written for this: frames are decoded, encoded once and decided on. Beside it each window is encoded
anew, as a recogniser of clips would.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import click
import numpy as np
import psutil
from litemkd_runtime import Recogniser
from litemkd_runtime.streams import Stream
from litemkd_runtime.watching import Examples, Pace, RuntimeEngine, Watcher

from benchmarks.sizes import T
from litemkd.config import StudentConfig
from litemkd.export.folder import write_description
from litemkd.export.writing import Form, write_graphs
from litemkd.models.folding import EvaluationForm
from litemkd.stages.build import build_student

RATE, PIECE = 25, 10  # frames a second, and seconds of a film that is repeated


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("backbone", default="mobilenet_v3_small")
@click.option(
    "--side", type=click.IntRange(min=32), default=224, show_default=True, help="Of what is seen, pixels."
)
@click.option("--seconds", type=click.IntRange(min=2), default=10, show_default=True, help="Of the film.")
@click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True),
    default=(T - 1) / RATE,
    show_default=True,
    help="Seconds that a window spans; by default every frame is looked at. `litemkd watch` has 2.",
)
def main(backbone: str, side: int, seconds: int, window: float) -> None:
    """Milliseconds a frame of watching on one thread, decoding included, and megabytes over the film."""
    with tempfile.TemporaryDirectory() as scratch:
        recogniser = Recogniser(exported(Path(scratch) / "student", backbone, side), threads=1)
        film = written(Path(scratch) / "film.mp4", side, seconds)
        click.echo(report(recogniser, film, window))


def exported(folder: Path, backbone: str, side: int) -> Path:
    """A student with the head `prototype`, as ONNX files."""
    words = {"backbone": {"name": backbone, "weights": "none"}, "head": {"name": "prototype"}}
    student = build_student(StudentConfig.model_validate(words), T, 0, pretrained=False)
    folder.mkdir()
    about = write_graphs(folder, EvaluationForm(student.eval()), T, side, Form()).described()
    about |= {"runtime": "onnx", "frames": T, "short_side": side + side // 8, "crop": side}
    about |= {"classes": {"way": None, "shot": None}, "temporal": "none", "calibration": None}
    write_description(folder, about)
    return folder


def written(path: Path, side: int, seconds: int) -> Path:
    """A film of 4:3 with moving noise: a piece is encoded once, its packets are repeated with later times."""
    rng = np.random.default_rng(0)
    height, width = side + side // 8, (side + side // 8) * 4 // 3 // 2 * 2
    height -= height % 2
    ground = rng.integers(0, 256, (height, 2 * width, 3), np.uint8)
    piece = path.with_name("piece.mp4")
    with av.open(str(piece), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(RATE * min(PIECE, seconds)):
            shown = np.roll(ground, 4 * number, axis=1)[:, :width]
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24"))
            )
        container.mux(stream.encode())
    with av.open(str(path), "w") as whole:
        target, offset = None, 0
        for _ in range(-(-seconds // PIECE)):
            with av.open(str(piece)) as source:
                target = target or whole.add_stream_from_template(source.streams.video[0])
                packets = [one for one in source.demux(video=0) if one.dts is not None]
                length = sum(one.duration or 0 for one in packets)
                for packet in packets:
                    packet.dts, packet.pts = (packet.dts or 0) + offset, (packet.pts or 0) + offset
                    packet.stream = target
                    whole.mux(packet)
                offset += length
    return path


def report(recogniser: Recogniser, film: Path, window: float) -> str:
    """What watching a film took, in lines."""
    engine, rng = RuntimeEngine(recogniser), np.random.default_rng(1)
    side = recogniser.exported.crop
    examples = Examples(engine)
    for name in "abc":
        examples.add(name, engine.look(rng.integers(0, 256, (T, side, side, 3), np.uint8)))
    examples.teach()
    watcher = Watcher(engine, Stream(str(film)), Pace(window=window))
    watcher.learned(("a", "b", "c"))
    process, memory, frames, decided = psutil.Process(), list[float](), 0, 0
    begun, spent = time.perf_counter(), time.process_time()
    for seen in watcher:
        frames, decided = seen.frame.number + 1, decided + (seen.decision is not None)
        if watcher.looked % 100 == T:
            memory.append(process.memory_info().rss / 1e6)
    spent, taken = time.process_time() - spent, time.perf_counter() - begun
    tenths = [memory[max(1, len(memory) * part // 10) - 1] for part in (1, 3, 5, 7, 10)]
    clip = rng.integers(0, 256, (1, T, side, side, 3), np.uint8)
    kept = engine.look(clip[0])
    anew = _least(lambda: recogniser.match(recogniser.encode(clip)))
    once = _least(lambda: engine.answer(np.concatenate([kept[1:], engine.look(clip[0, :1])])))
    return (
        f"{frames} frames, {frames / RATE:.0f} s of film, in {taken:.0f} s: {watcher.looked} looked at, "
        f"{decided} decisions\n"
        f"{1000 * spent / watcher.looked:.1f} ms of a processor a frame that is looked at, decoding included\n"
        f"{once:.1f} ms a decision without decoding; {anew:.1f} ms where its window is encoded anew, "
        f"{anew / once:.1f} times as much\n"
        f"memory: {', '.join(f'{one:.0f}' for one in tenths)} MB "
        "after 1, 3, 5, 7 and 10 tenths"
    )


def _least(run: Callable[[], object]) -> float:
    """Milliseconds of a processor that a call takes, the least of some."""
    taken = []
    for _ in range(12):
        begun = time.process_time()
        run()
        taken.append(1000 * (time.process_time() - begun))
    return min(taken)


if __name__ == "__main__":
    main()
