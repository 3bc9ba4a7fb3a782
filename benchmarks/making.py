"""What several works make: a side's device and threads, students with weights that both sides share."""

from __future__ import annotations

import torch
from torch.optim.swa_utils import update_bn

from benchmarks.sizes import T
from benchmarks.work import Setting
from litemkd.config import Config
from litemkd.data.packs.clips import ClipSource
from litemkd.data.packs.pack import FramePack
from litemkd.data.splits import Split
from litemkd.models.student import Student
from litemkd.stages.build import build_device, build_student


def config_of(setting: Setting, backbone: str) -> Config:
    """The configuration of a two-branch student with random weights."""
    sizes = setting.sizes
    return Config.model_validate(
        {
            "device": setting.device,
            "threads": setting.threads,
            "data": {"crop": sizes.crop, "frames": T},
            "student": {
                "backbone": {"name": backbone, "weights": "none"},
                "width": sizes.dim,
                "head": {"width": sizes.head_width},
            },
        }
    )


def our_device(setting: Setting) -> torch.device:
    """The device, set up as a stage does it."""
    return build_device(config_of(setting, "resnet18"))


def their_device(setting: Setting) -> torch.device:
    """The device, with the same threads."""
    torch.set_num_threads(setting.threads)
    return torch.device(setting.device)


def student_of(setting: Setting, backbone: str, device: torch.device) -> Student:
    """A student in eval mode: the same weights for each side, and batch norm that has seen frames."""
    student = build_student(config_of(setting, backbone).student, T, 0)
    frames = torch.rand(2, T, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    update_bn([frames], student.backbone)
    return student.to(device).eval()


def source(setting: Setting, pack: FramePack, split: Split, device: torch.device, crop: int = 0) -> ClipSource:
    """Clips of a pack, cut to `crop` pixels, or as large as models see them."""
    return ClipSource(pack, split, crop=crop or setting.sizes.crop, device=device)
