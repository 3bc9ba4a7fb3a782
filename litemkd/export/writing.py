"""The graphs of a student, written as the files of a format."""

from __future__ import annotations

from pathlib import Path

from litemkd.export.graphs import graphs_of
from litemkd.export.onnx_files import write_onnx
from litemkd.models.folding import EvaluationForm
from litemkd.runtime.progress import Bar

# What each format's graphs are made with, for `model.json`.
MADE_WITH = {"onnx": ("torch", "onnx", "onnxscript", "onnxruntime")}


def write_graphs(
    folder: Path,
    form: EvaluationForm,
    frames: int,
    crop: int,
    *,
    runtime: str = "onnx",
    way: int | None = None,
    shot: int | None = None,
) -> dict[str, str]:
    """Write the graphs of a student; the file of each by its name.

    Args:
        folder: for the files.
        form: of the student, on the CPU.
        frames: T.
        crop: side of a frame, pixels.
        runtime: a key of `MADE_WITH`.
        way: see `graphs_of`.
        shot: see there.

    Raises:
        ExportError: a layer that the format does not hold, or a package that is missing.
    """
    graphs = graphs_of(form, frames, crop, way=way, shot=shot)
    files = {}
    for name, graph in Bar(graphs.items(), desc="graphs", unit="graph"):
        files[name] = f"{name}.onnx"
        write_onnx(graph, name, folder / files[name])
    return files
