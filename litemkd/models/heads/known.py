"""Whole numbers on a device whose values the host knows: to look at them is not to wait for the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_KNOWN = WeakTensorKeyDictionary()  # tensors on a device -> their values


def on_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Values on a device, on their way there while the host goes on; they are not to be changed."""
    tensor = torch.from_numpy(values)
    if device.type == "cpu":
        return tensor
    there = (tensor.pin_memory() if torch.cuda.is_available() else tensor).to(device, non_blocking=True)
    _KNOWN[there] = values
    return there


def on_host(numbers: Tensor) -> np.ndarray:
    """The values of a tensor; one that `on_device` did not make is waited for."""
    if numbers.device.type == "cpu":
        return numbers.numpy()
    known: np.ndarray | None = _KNOWN.get(numbers)
    return numbers.cpu().numpy() if known is None else known
