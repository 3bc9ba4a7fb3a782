"""Graphs as OpenVINO's files, `.xml` and `.bin`, made of ONNX files."""

from __future__ import annotations

from pathlib import Path

from litemkd.errors import ExportError, first_line


def convert_to_openvino(source: Path, target: Path, *, half: bool = False) -> None:
    """Write an ONNX file as OpenVINO's.

    Args:
        source: the ONNX file.
        target: the `.xml`; the `.bin` beside it holds the weights.
        half: keep weights in 16 bits.

    Raises:
        ExportError: OpenVINO is not installed, or does not know an operation.
    """
    try:
        import openvino
    except ImportError as error:
        raise ExportError(
            '--format openvino: needs openvino, which is missing; `pip install "litemkd[openvino]"` would do'
        ) from error
    try:
        openvino.save_model(openvino.convert_model(source), target, compress_to_fp16=half)
    except Exception as error:  # of its own kinds
        told = first_line(error)
        raise ExportError(f"graph `{source.stem}`: OpenVINO does not hold this student: {told}") from error
