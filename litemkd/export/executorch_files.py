"""Graphs as ExecuTorch's files: the network for XNNPACK, what compares codes by ExecuTorch's own operators."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from litemkd_runtime.engines import load_graph
from litemkd_runtime.exported import MATCH

from litemkd.errors import ExportError, first_cause
from litemkd.export.graphs import Graph
from litemkd.export.quantising import missing, quiet

# Memory is laid out for the largest sizes when a file is made, so they are bounds. A frame, a clip, an episode
# go through at a time: of more the lowering makes the number that it was shown (ExecuTorch 1.5).
BOUNDS = {"W": 32, "K": 16, "Q": 8}


def write_executorch(graph: Graph, name: str, path: Path) -> None:
    """Write a graph as a `.pte` file, with its weights, and run it once: some are written and cannot be run.

    Args:
        graph: what is written; its weights are put in the order that XNNPACK wants.
        name: of the graph.
        path: of the file.

    Raises:
        ExportError: ExecuTorch does not hold or not run this student, or is not installed.
    """
    try:
        lower(exported_program(graph), name, path)
        examples = [x for one in shapes_of(graph)[0] for x in (one if isinstance(one, list) else [one])]
        load_graph(path, "executorch")({at: x.numpy() for at, x in zip(graph.names, examples, strict=True)})
    except ImportError as error:
        raise missing(error, "--format executorch", "executorch") from error
    except Exception as error:  # of several libraries
        raise ExportError(
            f"graph `{name}`: ExecuTorch does not hold this student: {first_cause(error)}. --format onnx "
            "would do; where the number of classes or shots is what is missed, --way and --shot"
        ) from error


def exported_program(graph: Graph) -> torch.export.ExportedProgram:
    """A graph as torch.export makes it, with axes of any length up to `BOUNDS`."""
    inputs, shapes = shapes_of(graph)
    module = graph.module.eval().to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        return torch.export.export(module, inputs, dynamic_shapes=shapes)


def shapes_of(graph: Graph) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Inputs that a graph is made with, one of a kind, and for each the axes of any length."""
    letters = {letter: torch.export.Dim(letter, min=2, max=most) for letter, most in BOUNDS.items()}
    names = iter(graph.names)

    def single(example: torch.Tensor) -> tuple[torch.Tensor, dict[int, Any]]:
        axes = graph.axes.get(next(names), {})
        free = {axis: letters[letter] for axis, letter in axes.items() if letter in letters}
        return example[:1] if axes.get(0) in ("B", "N", "V") else example, free

    found: list[Any] = [
        tuple(map(list, zip(*map(single, one), strict=True))) if isinstance(one, list) else single(one)
        for one in graph.inputs
    ]
    return tuple(one for one, _ in found), tuple(free for _, free in found)


def lower(program: torch.export.ExportedProgram, name: str, path: Path) -> None:
    """Write what torch.export has made of a graph; a network for XNNPACK."""
    with torch.no_grad(), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        # Matching is many small steps: handing them over would take longer than doing them.
        partitioner = [] if name == MATCH else [XnnpackPartitioner()]
        lowered = to_edge_transform_and_lower(program, partitioner=partitioner)
        if (before := _sizes(program)) != (after := _sizes(lowered.exported_program())):
            raise ValueError(f"sizes of any length {before} became {after}")
        path.write_bytes(lowered.to_executorch().buffer)


def _sizes(program: torch.export.ExportedProgram) -> list[list[int | None]]:
    """The sizes of each input, None for those of any length."""
    given = set(program.graph_signature.user_inputs)
    return [
        [size if isinstance(size, int) else None for size in node.meta["val"].shape]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in given
    ]
