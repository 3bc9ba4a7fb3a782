"""What runs a graph: onnxruntime, or OpenVINO."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from litemkd_runtime.errors import RecogniserError

# Arrays by the name of the input -> the outputs, in their order.
Graph = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


def load_graph(file: Path, runtime: str, threads: int | None = None) -> Graph:
    """A graph that can be run.

    Args:
        file: of the graph.
        runtime: `onnx` or `openvino`.
        threads: of the CPU that one run may use; all of them when not given.

    Raises:
        RecogniserError: a runtime that is not known or not installed, or a file that it does not take.
    """
    if runtime not in LOADERS:
        raise RecogniserError(f"{file.parent}: exported for {runtime!r}; {', '.join(LOADERS)} can be run here")
    try:
        return LOADERS[runtime](file, threads)
    except ImportError as error:
        raise RecogniserError(
            f"{file.parent}: needs {runtime}, which is not installed ({error}); "
            f'`pip install "litemkd-runtime[{runtime}]"` would do'
        ) from error
    except Exception as error:  # each library has its own
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecogniserError(f"{file}: {runtime} does not load it: {first}") from error


def _onnx(file: Path, threads: int | None) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, dict(inputs))


@functools.cache
def _core() -> Any:
    """One for the process, and never ended.

    Cores that end in the order in which they began leave this thread a stack for signals that is no longer
    there, so that the next Ctrl-C ends the process by a segmentation fault (OpenVINO 2026).
    """
    import openvino

    return openvino.Core()


def _openvino(file: Path, threads: int | None) -> Graph:
    # Its own choice would be bfloat16 where the processor has it.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    model = _core().compile_model(str(file), "CPU", settings)
    return lambda inputs: [np.array(one) for one in model(dict(inputs)).values()]


LOADERS: Mapping[str, Callable[[Path, int | None], Graph]] = {"onnx": _onnx, "openvino": _openvino}
