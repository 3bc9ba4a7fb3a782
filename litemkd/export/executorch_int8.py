"""ExecuTorch's files in eight bits, by torchao's quantisation of exported programs as XNNPACK wants it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from litemkd.export.executorch_files import exported_program, lower, shapes_of
from litemkd.export.graphs import Graph
from litemkd.export.quantising import ALL, RANKED_ON, Runs, Way, missing, quiet

_WEIGHED = ("conv2d", "linear")


class ExecutorchTool:
    """See `litemkd.export.quantising.Tool`.

    Args:
        graph: in float32.
        name: of the graph.
        runs: inputs that ranges are found with.

    Raises:
        ExportError: torchao is not installed.
    """

    runtime = "executorch"
    shares: Sequence[float] = (ALL,)

    def __init__(self, graph: Graph, name: str, runs: Runs) -> None:
        try:
            with quiet():
                import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401
        except ImportError as error:
            raise missing(error, extra="executorch") from error
        self.graph, self.name = graph, name
        self.runs = [[torch.from_numpy(one) for one in run.values()] for run in runs]
        self.layers: Sequence[str] = [
            node.name
            for node in exported_program(graph).graph.nodes
            if any(str(node.target).startswith(f"aten.{kind}.") for kind in _WEIGHED)
        ]

    def write(self, target: Path, way: Way) -> None:
        """See `Tool`."""
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
                XNNPACKQuantizer,
                get_symmetric_quantization_config,
            )
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

            quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(way.per_channel))
            quantizer.set_filter_function(lambda node: node.name not in way.kept)
            watched = prepare_pt2e(exported_program(self.graph).module(), quantizer)
            for run in self.runs[::RANKED_ON] if way.rough else self.runs:
                watched(*run)
            inputs, shapes = shapes_of(self.graph)
            program = torch.export.export(convert_pt2e(watched), inputs, dynamic_shapes=shapes)
            lower(program, self.name, target)
