"""OpenVINO's files in eight bits, by nncf."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from litemkd.export.quantising import ALL, RANKED_ON, Runs, Way, missing, quiet

_WEIGHED = ("Convolution", "GroupConvolution", "MatMul")


class OpenVinoTool:
    """See `litemkd.export.quantising.Tool`.

    Args:
        source: the ONNX file, in float32.
        runs: inputs that ranges are found with.

    Raises:
        ExportError: nncf is not installed.
    """

    runtime = "openvino"
    shares: Sequence[float] = (ALL,)

    def __init__(self, source: Path, runs: Runs) -> None:
        try:
            with quiet():
                import nncf  # noqa: F401
                import openvino
        except ImportError as error:
            raise missing(error) from error
        self.source, self.runs = source, runs
        self.layers: Sequence[str] = [
            one.get_friendly_name()
            for one in openvino.convert_model(source).get_ops()
            if one.get_type_name() in _WEIGHED
        ]

    def write(self, target: Path, way: Way) -> None:
        """See `Tool`; a rough way has no correction of biases either, which takes as long as the ranges."""
        import nncf
        import openvino
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters

        runs = self.runs[::RANKED_ON] if way.rough else self.runs
        model = nncf.quantize(
            openvino.convert_model(self.source),
            nncf.Dataset([dict(one) for one in runs]),
            preset=nncf.QuantizationPreset.MIXED,  # bytes without sign are fit for what a hard swish makes
            subset_size=len(runs),
            ignored_scope=nncf.IgnoredScope(names=list(way.kept)) if way.kept else None,
            advanced_parameters=AdvancedQuantizationParameters(
                disable_bias_correction=way.rough,
                weights_quantization_params=QuantizationParameters(per_channel=way.per_channel),
            ),
        )
        openvino.save_model(model, target, compress_to_fp16=False)
