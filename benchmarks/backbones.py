"""`python -m benchmarks.backbones`: what backbones of each family cost, as a table for docs/backbones.md.

Each is counted and timed in its evaluation form, by itself, on one clip of 8 frames of 224 pixels with random
weights, which changes nothing in how long it takes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import click
import torch

from benchmarks.sizes import T
from litemkd.cost.counting import count, meta, without_data
from litemkd.models.backbones import Backbone
from litemkd.models.folding import deployed, fold_norms

# By family, in the order of the table.
FAMILIES: Mapping[str, Sequence[str]] = {
    "conv4": ("conv4",),
    "MobileNetV3": ("timm:mobilenetv3_small_050", "mobilenet_v3_small", "mobilenet_v3_large"),
    "MobileNetV4": ("timm:mobilenetv4_conv_small_035", "timm:mobilenetv4_conv_small"),
    "EfficientNet": ("efficientnet_b0",),
    "EfficientNet-Lite": ("lite0",),
    "GhostNet": ("timm:ghostnet_050", "timm:ghostnet_100"),
    "RepGhost": ("timm:repghostnet_050", "timm:repghostnet_100"),
    "RepVGG": ("timm:repvgg_a0",),
    "MobileOne": ("timm:mobileone_s0", "timm:mobileone_s1"),
    "FastViT": ("timm:fastvit_t8",),
    "ResNet": ("timm:resnet10t", "resnet18", "resnet34", "resnet50"),
    "ConvNeXt": ("timm:convnext_atto", "torchvision:convnext_tiny"),
    "ViT": ("timm:vit_tiny_patch16_224", "timm:vit_base_patch16_clip_224"),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of torch.")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="Timed passes.")
@click.option(
    "--side", type=click.IntRange(min=32), default=224, show_default=True, help="Of the frames, pixels."
)
def main(names: tuple[str, ...], threads: int, repeats: int, side: int) -> None:
    """Feature width, parameters, GMACs and milliseconds a clip of backbones, each on the CPU.

    NAME is a backbone; when none is given, those of each family are measured. Milliseconds are of the fastest
    pass of one clip, which other work on the machine disturbs least; GMACs are counted as thop does.
    """
    torch.set_num_threads(threads)
    chosen = {"": names} if names else FAMILIES
    click.echo(
        "| family | backbone | width | parameters, M | GMACs a clip | ms a clip |\n|---|---|---|---|---|---|"
    )
    for family, members in chosen.items():
        for name in members:
            click.echo(f"| {family} | `{name}` | {' | '.join(row(name, repeats, side))} |")


def row(name: str, repeats: int, side: int) -> tuple[str, str, str, str]:
    """Width, parameters in millions, GMACs and milliseconds of one clip, as a table shows them."""
    backbone = Backbone(name, weights="none").eval()
    _, work = count(fold_norms(without_data(backbone)), meta(1, 1, 3, side, side))
    parameters = sum(one.numel() for one in deployed(backbone.features).parameters())
    clip, form = torch.rand(1, T, 3, side, side), fold_norms(backbone)
    taken = []
    with torch.inference_mode():
        for _ in range(1 + repeats):  # the first one warms up
            begun = time.perf_counter()
            form(clip)
            taken.append(time.perf_counter() - begun)
    passed = 1000 * min(taken[1:])
    return str(backbone.channels), f"{parameters / 1e6:.2f}", f"{work.macs * T / 1e9:.2f}", f"{passed:.0f}"


if __name__ == "__main__":
    main()
