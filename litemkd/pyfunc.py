"""How MLflow loads a logged student or teacher: `mlflow.pyfunc.load_model` and `mlflow models serve` come here.

The logged folder holds plain weights and a description of the architecture; no pickled code is ever run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Predictor:
    """The `predict` of a torch module, arrays in and arrays out.

    Args:
        model: called with one keyword argument per input.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(
        self, inputs: Any, params: Mapping[str, Any] | None = None
    ) -> np.ndarray | dict[str, np.ndarray]:
        """The module's outputs.

        Args:
            inputs: a mapping from the names of the module's arguments to arrays or nested lists, or one array.
            params: passed on as further keyword arguments.
        """
        import torch

        named = isinstance(inputs, Mapping)
        tensors = {key: _tensor(value) for key, value in (inputs if named else {"": inputs}).items()}
        with torch.inference_mode():
            outputs = (
                self.model(**tensors, **(params or {})) if named else self.model(tensors[""], **(params or {}))
            )
        if isinstance(outputs, Mapping):
            return {key: value.numpy(force=True) for key, value in outputs.items()}
        return outputs.numpy(force=True)


def _tensor(value: Any) -> Any:
    import torch

    array = np.asarray(value)
    return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float64 else array)


def _load_pyfunc(path: str) -> Predictor:
    """Called by MLflow with the folder of `weights.safetensors` and `model.json`."""
    from litemkd.stages.build import load_model

    model = load_model(Path(path))
    return Predictor(model.eval())
