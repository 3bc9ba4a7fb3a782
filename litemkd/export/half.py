"""ONNX files in 16 bits: weights, and what is computed of them; what goes in and comes out stays as it was."""

from __future__ import annotations

from pathlib import Path


def halve(path: Path) -> None:
    """Write an ONNX file anew in float16."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)
