"""The graphs of a student, written as the files of a format, in a precision."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litemkd_runtime.exported import MATCH

from litemkd.export.graphs import Graph, graphs_of
from litemkd.export.half import halve
from litemkd.export.onnx_files import write_onnx
from litemkd.export.openvino_files import convert_to_openvino
from litemkd.models.folding import EvaluationForm
from litemkd.runtime.progress import Bar

FLOAT32, FLOAT16 = "float32", "float16"
# What each format's files are made with and run by, for `model.json`; and the precisions it has.
MADE_WITH = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "openvino": ("torch", "onnx", "onnxscript", "openvino"),
}
PRECISIONS = (FLOAT32, FLOAT16)


@dataclass(frozen=True)
class Form:
    """What is made of a student.

    Attributes:
        runtime: a key of `MADE_WITH`.
        precision: one of `PRECISIONS`; matching has no weights and stays in float32.
        way: the only number of classes that `match` is for; any when None.
        shot: the only number of supports a class; any when None.
    """

    runtime: str = "onnx"
    precision: str = FLOAT32
    way: int | None = None
    shot: int | None = None


@dataclass
class Written:
    """What was written.

    Attributes:
        graphs: the file of each graph, by its name.
        kept: graphs, or layers, that are in float32 whatever the precision.
    """

    graphs: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        """As `model.json` has it."""
        return {"graphs": self.graphs, "in_float32": self.kept}


def write_graphs(folder: Path, student: EvaluationForm, frames: int, crop: int, form: Form) -> Written:
    """Write the graphs of a student.

    Args:
        folder: for the files.
        student: on the CPU.
        frames: T.
        crop: side of a frame, pixels.
        form: what is made.

    Raises:
        ExportError: a layer that the format does not hold, or a package that is missing.
    """
    written = Written()
    graphs = graphs_of(student, frames, crop, way=form.way, shot=form.shot)
    for name, graph in Bar(graphs.items(), desc="graphs", unit="graph", total=len(graphs)):
        if form.precision != FLOAT32 and name == MATCH:
            written.kept.append(name)
        written.graphs[name] = _write(folder, name, graph, form)
    return written


def _write(folder: Path, name: str, graph: Graph, form: Form) -> str:
    half = form.precision == FLOAT16 and name != MATCH
    if form.runtime == "onnx":
        path = folder / f"{name}.onnx"
        write_onnx(graph, name, path)
        if half:
            halve(path)
        return path.name
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / f"{name}.onnx"
        write_onnx(graph, name, source)
        convert_to_openvino(source, folder / f"{name}.xml", half=half)
    return f"{name}.xml"
