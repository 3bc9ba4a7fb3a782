"""Graphs as ONNX files.

torch.export is what makes them; TorchScript's tracer where a head takes a thousand small steps one after
another (alignments), of which torch.export takes a minute to make what the tracer makes in a second.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from litemkd_runtime.exported import MATCH

from litemkd.errors import ExportError, first_cause
from litemkd.export.graphs import AXES, Graph
from litemkd.models.heads import OTAM, ClipFSAR

OPSET = 20
_ALIGNING = (OTAM, ClipFSAR)


def write_onnx(graph: Graph, name: str, path: Path) -> None:
    """Write a graph as an ONNX file, with its weights.

    Args:
        graph: what is written.
        name: of the graph, for messages and for the way that is taken.
        path: of the file.

    Raises:
        ExportError: an operation that ONNX has no word for, named; or `onnx`, `onnxscript` not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f'--format onnx: needs {error.name}, which is not installed; `pip install "litemkd[onnx]"` would do'
        ) from error
    aligns = name == MATCH and any(isinstance(one, _ALIGNING) for one in graph.module.modules())
    try:
        with torch.no_grad(), _quiet():
            (_trace if aligns else _export)(graph, path)
    except Exception as error:  # of several libraries
        told = first_cause(error)
        raise ExportError(
            f"graph `{name}`: ONNX does not hold this student: {told}. A head and backbone that come with "
            "litemkd would do; where the number of classes or shots is what is missed, --way and --shot"
        ) from error


def _export(graph: Graph, path: Path) -> None:
    # From two on: for one, torch.export asks which axes are broadcast. A graph does for one all the same.
    letters = {letter: torch.export.Dim(letter, min=2, max=most) for letter, most in AXES.items()}

    def free(name: str) -> dict[int, Any]:
        return {axis: letters[letter] for axis, letter in graph.axes.get(name, {}).items()}

    names = iter(graph.names)
    shapes = tuple(
        [free(next(names)) for _ in one] if isinstance(one, list) else free(next(names)) for one in graph.inputs
    )
    program = torch.onnx.export(
        graph.module.eval(),
        graph.inputs,
        dynamo=True,
        input_names=list(graph.names),
        output_names=list(graph.outputs),
        dynamic_shapes=shapes,
        custom_translation_table=_translations(),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    program.save(path)


def _trace(graph: Graph, path: Path) -> None:
    torch.onnx.export(
        graph.module.eval(),
        graph.inputs,
        path,
        dynamo=False,
        input_names=list(graph.names),
        output_names=list(graph.outputs),
        dynamic_axes=graph.axes,
        opset_version=OPSET,
    )


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Operations that the exporter does not know, or makes with more rounding than torch does."""
    from onnxscript import opset20 as op

    def axes(*numbers: int) -> Any:
        return op.Constant(value_ints=list(numbers))

    def distances(x1: Any, x2: Any, p: float = 2.0, compute_mode: int | None = None) -> Any:
        apart = op.Sub(op.Unsqueeze(x1, axes(-2)), op.Unsqueeze(x2, axes(-3)))
        return op.Sqrt(op.ReduceSumSquare(apart, axes(-1), keepdims=0))

    def norm(self: Any, ord: float = 2.0, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        # Axis after axis: one long sum, number by number, would lose two digits.
        *others, last = sorted(dim)
        total = op.ReduceSumSquare(self, axes(last), keepdims=1)
        for axis in others:
            total = op.ReduceSum(total, axes(axis), keepdims=1)
        root = op.Sqrt(total)
        return root if keepdim else op.Squeeze(root, axes(*dim))

    def attention(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        rank = len(key.shape)
        turned = op.Transpose(key, perm=[*range(rank - 2), rank - 1, rank - 2])
        factor = int(key.shape[-1]) ** -0.5 if scale is None else scale
        scores = op.Mul(op.MatMul(query, turned), op.Constant(value_float=factor))
        if attn_mask is not None:
            scores = op.Add(scores, attn_mask)
        return op.MatMul(op.Softmax(scores, axis=-1), value)

    aten = torch.ops.aten
    return {
        aten._cdist_forward.default: distances,
        aten.linalg_vector_norm.default: norm,
        aten.scaled_dot_product_attention.default: attention,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters tell of their own way, which helps nobody who exports a student."""
    loud = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [one.level for one in loud]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for one in loud:
            one.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for one, level in zip(loud, levels, strict=True):
                one.setLevel(level)
