"""The arithmetic of a network by its config, in multiply-accumulates (MACs) for one clip; nothing is run.

Shapes: l tokens with class token and registers, d width, e inner channels, n states, r rank of delta, k taps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from videomamba.bench.measure import Figure
from videomamba.models.config import VideoMambaConfig

SCAN_OPERATIONS = 9
"""Per token, channel, state and direction: the usual count of a selective scan, 9 l e n."""
NORM_OPERATIONS = 5
"""Per token and channel of the width."""


@dataclass(frozen=True)
class Product:
    """`count` matrix products (rows, inner) x (inner, outer) in one pass through the network."""

    part: str
    rows: int
    inner: int
    outer: int
    count: int

    @property
    def macs(self) -> int:
        return self.rows * self.inner * self.outer * self.count


def tokens(config: VideoMambaConfig) -> int:
    """l, the length of the sequence."""
    return 1 + config.num_registers + math.prod(config.grid)


def mixer_passes(config: VideoMambaConfig) -> int:
    """The number of runs of a mixer: an order that combines two in every block runs each mixer on both."""
    return config.depth * (2 if config.scan_order == "spatiotemporal_v2" else 1)


def products(config: VideoMambaConfig) -> tuple[Product, ...]:
    """Every matrix product of one forward pass, with that of the patch embedding."""
    length, passes = tokens(config), mixer_passes(config)
    dim, inner, rank, projected = config.dim, config.inner_dim, config.dt_rank, config.dt_rank + 2 * config.d_state
    found = (
        Product("patch embedding", math.prod(config.grid), 3 * config.tubelet_size * config.patch_size**2, dim, 1),
        Product("in_proj", length, dim, 2 * inner, passes),
        Product("x_proj, both directions", length, inner, projected, 2 * passes),
        Product("dt_proj, both directions", length, rank, inner, 2 * passes),
        Product("out_proj", length, inner, dim, passes),
        Product("head", 1, dim, config.num_classes, 1),
    )
    return tuple(product for product in found if product.macs)


def macs(config: VideoMambaConfig, *, as_published: bool = False) -> dict[str, int]:
    """MACs of each part, as usual without bias, activations, gate, skip and residual sums.

    `as_published` omits the inside of the fused operator, which the paper's counter could not see: x_proj, dt_proj,
    convolution and scan.
    """
    walked = tokens(config) * config.inner_dim * 2 * mixer_passes(config)
    unseen = {"x_proj, both directions", "dt_proj, both directions"} if as_published else set()
    parts = {product.part: product.macs for product in products(config) if product.part not in unseen}
    if not as_published:
        parts["convolution, both directions"] = walked * config.d_conv
        parts["scan, both directions"] = walked * SCAN_OPERATIONS * config.d_state
    parts["norms"] = NORM_OPERATIONS * tokens(config) * config.dim * (config.depth + 1)
    return parts


def bench_flops(name: str, config: VideoMambaConfig, *, as_published: bool) -> Iterator[Figure]:
    """The lines of `videomamba bench flops`: the network, then each part and the total, in 1e9 MACs, the paper's GFLOPs."""
    height, width = config.image_size
    network: dict[str, str | int] = {"model": name, "frames": config.num_frames, "size": f"{width}x{height}"}
    yield Figure("network", {**network, "tokens": tokens(config), "classes": config.num_classes})
    parts = macs(config, as_published=as_published)
    total = sum(parts.values())
    table = "GMACs as published, without the state space model" if as_published else "GMACs"
    for part, count in {**parts, "total": total}.items():
        yield Figure(table, {"part": part, "gmacs": count / 1e9, "share": count / total})
