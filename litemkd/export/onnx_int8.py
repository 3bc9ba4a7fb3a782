"""ONNX files in eight bits, by onnxruntime's static quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from litemkd.export.quantising import ALL, Runs, Way, missing, quiet

_WEIGHED = ("Conv", "Gemm", "MatMul")


class OnnxTool:
    """See `litemkd.export.quantising.Tool`.

    Args:
        source: the ONNX file in float32.
        scratch: a folder for what is made on the way.
        runs: inputs that ranges are found with.

    Raises:
        ExportError: onnxruntime's quantiser is not installed.
    """

    runtime = "onnx"
    shares: Sequence[float] = (ALL, 99.999, 99.99)

    def __init__(self, source: Path, scratch: Path, runs: Runs) -> None:
        try:
            import onnx
            from onnxruntime.quantization.shape_inference import quant_pre_process
        except ImportError as error:
            raise missing(error) from error
        self.plain = scratch / f"{source.stem}-plain.onnx"
        self.ranges = {share: scratch / f"{source.stem}-{share}.json" for share in self.shares}
        self.runs = runs
        with quiet():
            quant_pre_process(str(source), str(self.plain), skip_symbolic_shape=True)
        graph = onnx.load(self.plain).graph
        weights = {one.name for one in graph.initializer}
        self.layers: Sequence[str] = [
            one.name for one in graph.node if one.op_type in _WEIGHED and set(one.input[1:2]) & weights
        ]

    def write(self, target: Path, way: Way) -> None:
        """See `Tool`; ranges are found once, so a rough way would save nothing."""
        from onnxruntime.quantization import (
            CalibrationDataReader,
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )

        class Reader(CalibrationDataReader):
            def __init__(self, runs: Runs) -> None:
                self.runs, self.rest = runs, iter(runs)

            def get_next(self) -> dict[str, Any] | None:
                one = next(self.rest, None)
                return None if one is None else dict(one)

            def __len__(self) -> int:
                return len(self.runs)

            def set_range(self, start_index: int, end_index: int) -> None:
                self.rest = iter(self.runs[start_index:end_index])

        # Bytes without sign flow: with them processors with VNNI are near twice as fast as with signed ones.
        quantize_static(
            self.plain,
            target,
            Reader(self.runs),
            quant_format=QuantFormat.QDQ,
            nodes_to_exclude=list(way.kept),
            per_channel=way.per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax if way.share == ALL else CalibrationMethod.Percentile,
            # What flows in one run is in memory at once, not that of all: the option's name is too narrow.
            extra_options={"MatMulConstBOnly": True, "CalibStridedMinMax": 1, "CalibPercentile": way.share},
            calibration_cache_path=self.ranges[way.share],
        )
