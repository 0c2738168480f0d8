"""From pixels to tokens: non-overlapping patches of space and time."""

from __future__ import annotations

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
