"""The graphs of a student, written as the files of a format, in a precision."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from litemkd_runtime.engines import Graph as Runnable
from litemkd_runtime.engines import load_graph
from litemkd_runtime.exported import CLIPS, FEATURES, MATCH

from litemkd.errors import ExportError
from litemkd.export.executorch_files import BOUNDS, write_executorch
from litemkd.export.executorch_int8 import ExecutorchTool
from litemkd.export.graphs import Graph, graphs_of
from litemkd.export.half import halve
from litemkd.export.onnx_files import write_onnx
from litemkd.export.onnx_int8 import OnnxTool
from litemkd.export.openvino_files import convert_to_openvino
from litemkd.export.openvino_int8 import OpenVinoTool
from litemkd.export.quantising import Examples, Quantised, Runs, Tool, quantise
from litemkd.models.folding import EvaluationForm
from litemkd.runtime.progress import Bar

ENDINGS = {"onnx": "onnx", "openvino": "xml", "executorch": "pte"}  # of the files of each format
FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
# What each format's files are made with and run by, for `model.json`.
MADE_WITH = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "openvino": ("torch", "onnx", "onnxscript", "openvino"),
    "executorch": ("torch", "executorch"),
}
QUANTISERS = {"openvino": ("nncf",), "executorch": ("torchao",)}
EXECUTORCH = "executorch"


@dataclass(frozen=True)
class Form:
    """What is made of a student.

    Attributes:
        runtime: a key of `MADE_WITH`.
        precision: `float32`, `float16` or `int8`; matching has no weights and stays in float32.
        way: the only number of classes that `match` is for; any when None.
        shot: the only number of supports a class; any when None.

    Raises:
        ExportError: a precision that there is not for the runtime.
    """

    runtime: str = "onnx"
    precision: str = FLOAT32
    way: int | None = None
    shot: int | None = None

    def __post_init__(self) -> None:
        if (self.runtime, self.precision) == (EXECUTORCH, FLOAT16):
            raise ExportError(
                "--precision float16: ExecuTorch's files have none; float32, int8 or --format onnx would do"
            )

    @property
    def most(self) -> dict[str, int] | None:
        """How much graphs take at once where there is a bound: of an episode, and of clips or frames."""
        if self.runtime != EXECUTORCH:
            return None
        return {
            "way": self.way or BOUNDS["W"],
            "shot": self.shot or BOUNDS["K"],
            "queries": BOUNDS["Q"],
            "clips": 1,
        }

    def refuse(self, way: int, shots: Sequence[int]) -> None:
        """ExportError: episodes of this size are larger than `most`, in the experiment's own words."""
        if self.most is None:
            return
        for key, option, given in (("way", "--way", way), ("shot", "--shot", max(shots))):
            if given > self.most[key]:
                raise ExportError(
                    f"--format executorch: the test's episodes have {key} {given}; at most {self.most[key]} "
                    f"would do, or {option} {given}"
                )

    @property
    def packages(self) -> tuple[str, ...]:
        """What the files are made with and run by."""
        quantiser = QUANTISERS.get(self.runtime, ()) if self.precision == INT8 else ()
        return MADE_WITH[self.runtime] + quantiser


@dataclass
class Written:
    """What was written.

    Attributes:
        graphs: the file of each graph, by its name.
        kept: graphs, or layers as `graph: layer`, that are in float32 whatever the precision.
        quantised: how, by graph; empty but in int8.
    """

    graphs: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    quantised: dict[str, Quantised] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """As `model.json` has it."""
        told: dict[str, Any] = {"graphs": self.graphs, "in_float32": self.kept}
        if self.quantised:
            told["quantised"] = {name: one.described() for name, one in self.quantised.items()}
        return told


def write_graphs(
    folder: Path,
    student: EvaluationForm,
    frames: int,
    crop: int,
    form: Form,
    examples: Examples | None = None,
) -> Written:
    """Write the graphs of a student.

    Args:
        folder: for the files.
        student: on the CPU.
        frames: T.
        crop: side of a frame, pixels.
        form: what is made.
        examples: clips, which int8 needs.

    Raises:
        ExportError: a layer that the format does not hold, a package that is missing, or too much lost in int8.
    """
    written = Written()
    graphs = graphs_of(student, frames, crop, way=form.way, shot=form.shot)
    with tempfile.TemporaryDirectory() as scratch:
        for name, graph in Bar(graphs.items(), desc="graphs", unit="graph", total=len(graphs)):
            source = Path(scratch) / f"{name}.{'pte' if form.runtime == EXECUTORCH else 'onnx'}"
            (write_executorch if form.runtime == EXECUTORCH else write_onnx)(graph, name, source)
            target = folder / f"{name}.{ENDINGS[form.runtime]}"
            written.graphs[name] = target.name
            if name == MATCH or form.precision == FLOAT32:
                _convert(source, target, form.runtime)
                written.kept += [name] * (form.precision != FLOAT32)
            elif form.precision == FLOAT16:
                _convert(source, target, form.runtime, half=True)
            elif examples is None:
                raise ValueError("int8 without examples")
            else:
                how = _in_eight_bits(graph, source, target, form.runtime, examples)
                written.quantised[name] = how
                written.kept += [f"{name}: {layer}" for layer in how.kept]
    return written


def _convert(source: Path, target: Path, runtime: str, *, half: bool = False) -> None:
    if runtime == "openvino":
        convert_to_openvino(source, target, half=half)
        return
    if half:
        halve(source)
    shutil.move(source, target)


def _in_eight_bits(graph: Graph, source: Path, target: Path, runtime: str, examples: Examples) -> Quantised:
    runs = _runs(source, examples.calibration)
    tool: Tool
    if runtime == EXECUTORCH:
        tool = ExecutorchTool(graph, source.stem, runs)
    else:
        tool = OnnxTool(source, source.parent, runs) if runtime == "onnx" else OpenVinoTool(source, runs)
    return quantise(tool, target, _loaded(source), _runs(source, examples.held_out))


def _loaded(source: Path) -> Runnable:
    return load_graph(source, EXECUTORCH if source.suffix == ".pte" else "onnx")


def _runs(source: Path, clips: np.ndarray) -> Runs:
    """What goes into a graph for clips; of features those in float32, so each graph is judged on its own."""
    if source.stem == CLIPS:
        return [{"clips": clip[None]} for clip in clips]
    step = 1 if source.suffix == ".pte" else len(clips[0])
    frames = [[{"frames": clip[i : i + step]} for i in range(0, len(clip), step)] for clip in clips]
    if source.stem == FEATURES:
        return [one for clip in frames for one in clip]
    features = _loaded(source.with_stem(FEATURES))
    return [{"features": np.concatenate([features(one)[0] for one in clip])[None]} for clip in frames]
