"""What runs a graph: onnxruntime, OpenVINO, or ExecuTorch."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np

from litemkd_runtime.errors import RecogniserError

# Arrays by the name of the input, in the order of the graph's -> the outputs, in their order.
Graph = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


def load_graph(file: Path, runtime: str, threads: int | None = None) -> Graph:
    """A graph that can be run.

    Args:
        file: of the graph.
        runtime: a key of `LOADERS`.
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


@functools.cache
def _executorch() -> tuple[Any, int]:
    """ExecuTorch's runtime, which in Python comes with torch, and the threads that it takes by itself."""
    import torch  # noqa: F401  # brings libraries that the next one is linked to

    with _silence():
        # `portable_lib`, around it, would bring all that makes files: two hundred megabytes, and seconds.
        from executorch.extension.pybindings import _C

        return _C, _C._threadpool_get_thread_count()


@contextmanager
def _silence() -> Iterator[None]:
    """Without what ExecuTorch logs of processors and threads past Python."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class _Program:
    """A graph for ExecuTorch.

    Its threads are the process's: where another number is asked for, every graph lets go of them first, and is
    loaded anew when it is run next.
    """

    loaded: ClassVar[WeakSet[_Program]] = WeakSet()

    def __init__(self, file: Path, threads: int | None) -> None:
        self.file, self.threads = file, threads
        self.method: Any = None
        self._load()

    def _load(self) -> None:
        runtime, most = _executorch()
        if runtime._threadpool_get_thread_count() != (wanted := self.threads or most):
            for one in tuple(self.loaded):
                one.method = None
            self.loaded.clear()
            with _silence():
                runtime._unsafe_reset_threadpool(wanted)
        if self.method is None:
            self.method = runtime._load_for_executorch(str(self.file))
            self.loaded.add(self)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        import torch

        self._load()
        given = [torch.from_numpy(np.require(x, requirements=["C", "W"])) for x in inputs.values()]
        return [one.numpy() for one in self.method.forward(given)]


LOADERS: Mapping[str, Callable[[Path, int | None], Graph]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "executorch": _Program,
}
