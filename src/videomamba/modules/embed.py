"""From pixels to tokens: non-overlapping patches of space and time, and their positions at another size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """3-D convolution whose stride is its kernel (tubelet, patch, patch): the paper's 1x16x16 embedding.

    (b, c, t, h, w) -> (b, t / tubelet, h / patch * w / patch, d), row-major inside a frame.
    """

    def __init__(self, *, in_channels: int, dim: int, patch_size: int, tubelet_size: int) -> None:
        super().__init__()
        kernel = (tubelet_size, patch_size, patch_size)
        self.proj = nn.Conv3d(in_channels, dim, kernel_size=kernel, stride=kernel)

    def forward(self, video: Tensor) -> Tensor:
        patches: Tensor = self.proj(video.to(self.proj.weight.dtype))
        return rearrange(patches, "b d t h w -> b t (h w) d")

    def embed_some(self, video: Tensor, patches: Tensor) -> Tensor:
        """Those of `patches` (b, v) int64, counted over (t, h, w), alone -> (b, v, d); the others are not computed."""
        tubelet, height, width = self.proj.kernel_size
        b, channels, frames, rows, columns = video.shape
        across = columns // width
        t, place = patches // (rows // height * across), patches % (rows // height * across)
        # The video as runs of `width` pixels: a patch begins in run `first`, and its other runs are at the same distances.
        clip = torch.arange(b, device=video.device).unsqueeze(1)
        first = ((clip * channels * frames + t * tubelet) * rows + place // across * height) * across + place % across
        c, u, y = (torch.arange(n, device=video.device) for n in (channels, tubelet, height))
        others = (((c[:, None, None] * frames + u[:, None]) * rows + y) * across).flatten()
        runs = (first.unsqueeze(-1) + others).flatten()  # (b v c u y)
        chosen = video.reshape(-1, width).index_select(0, runs).view(b, patches.shape[1], -1)
        weight = self.proj.weight
        return F.linear(chosen.to(weight.dtype), weight.flatten(1), self.proj.bias)


def resize_positions(pos_embed: Tensor, source: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """(1, 1 + n, D) -> (1, 1 + n', D): the class token's row is kept, the grid is resized as a picture.

    Bicubic, align_corners=False, no antialiasing, in at least float32: so the released high-resolution weights started.
    """
    rows = pos_embed.to(torch.promote_types(pos_embed.dtype, torch.float32))
    grid = rows[:, 1:].reshape(1, *source, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=target, mode="bicubic", align_corners=False, antialias=False)
    return torch.cat([rows[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def resize_temporal(embedding: Tensor, slots: int) -> Tensor:
    """(1, T, D) -> (1, T', D), linear, align_corners=False."""
    rows = embedding.to(torch.promote_types(embedding.dtype, torch.float32)).transpose(1, 2)
    return F.interpolate(rows, size=slots, mode="linear", align_corners=False).transpose(1, 2)
