"""Masked pretraining (the paper's masked modeling, after Unmasked Teacher, arXiv 2303.16058): a VideoMamba of visible patches.

A frozen teacher sees the complete clip. The student sees the visible patches alone, and a linear decoder maps its features to
the teacher's at the same places. Nothing is computed for masked patches.

Shapes: b batch, T p patches of a clip, v of them visible, d width, c width of the teacher, k layers that are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videomamba.models.check import check_video
from videomamba.models.config import VideoMambaConfig
from videomamba.models.init import init_linear
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.scan_order import visible_order


class Decoder(nn.Module):
    """(..., d) -> (..., c): linear, then LayerNorm."""

    def __init__(self, *, dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.head = nn.Linear(dim, teacher_dim)
        self.norm = nn.LayerNorm(teacher_dim, eps=1e-5)

    def forward(self, features: Tensor) -> Tensor:
        decoded: Tensor = self.norm(self.head(features.to(self.head.weight.dtype)).float())
        return decoded


class MaskedVideoMamba(VideoMamba):
    """The student of masked pretraining: a VideoMamba without a head, and a decoder for each layer that is compared.

    `indices` are these layers, ascending; negative ones count from the last. The feature of a layer is the final norm of the
    stream after it. With `legacy`, that of the last layer is what the original compares by mistake: the stream before
    that layer, not normalised. The last layer and the final norm then have no part in the loss, and are frozen.

    The state dict is the original's, except that the final norm is `norm_f` as in all other networks, not `norm`. Raises
    ValueError for a config with a head or registers, and for indices that are not ascending layers.
    """

    def __init__(
        self, config: VideoMambaConfig, *, teacher_dim: int, indices: Sequence[int] = (-1,), legacy: bool = False
    ) -> None:
        if config.num_classes or config.num_registers:
            raise ValueError("masked pretraining has no head and no registers: num_classes and num_registers must be 0")
        if legacy and config.depth < 2:
            raise ValueError("the original's alignment needs two layers or more")
        super().__init__(config)
        self.indices = self._layer_indices(indices)
        if not self.indices or any(first >= second for first, second in pairwise(self.indices)):
            raise ValueError(f"indices must be ascending layers, each once; got {list(indices)}")
        self.legacy = legacy
        self.clip_decoder = nn.ModuleList(
            Decoder(dim=config.dim, teacher_dim=teacher_dim) for _ in self.indices
        )  # the original's name, whatever the teacher
        self._positions = sinusoids(self.layout.length, config.dim)
        if legacy and self.indices[-1] == config.depth - 1:
            self.layers[-1].requires_grad_(False)
            self.norm_f.requires_grad_(len(self.indices) > 1)
        if not self.cls_token.is_meta:
            for decoder in self.clip_decoder:
                assert isinstance(decoder, Decoder)
                init_linear(decoder.head)

    def forward(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) and `visible` (b, v) -> (k, b, 1 + v, c) fp32: decoded features of class token and visible patches.

        `visible` int64 are patches counted over (T, h, w), ascending, as many of each clip; None: all of them.
        """
        if visible is None:
            visible = torch.arange(self.layout.length - 1, device=video.device).expand(len(video), -1)
        tokens, slots = self.embed_visible(video, visible)
        orders = (
            None if self.config.scan_order == "spatial_first" else visible_order(self.layout.temporal_order(), slots)
        )
        last = self.config.depth - 1
        taps = [i - 1 if self.legacy and i == last else i for i in self.indices]
        _, streams = self.encode(tokens, orders, taps=taps)
        positions = F.embedding(slots, self._positions.to(slots.device))
        return torch.stack(
            [
                decoder((stream if self.legacy and i == last else self.norm_f(stream)) + positions)
                for i, stream, decoder in zip(self.indices, streams, self.clip_decoder, strict=True)
            ]
        )

    def embed_visible(self, video: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens (b, 1 + v, d) fp32 of class token and visible patches, equal to those of `embed`, and their slots."""
        check_video(self.config, video, None)
        places = self.layout.places
        patches = self.patch_embed.embed_some(video, visible) + F.embedding(visible % places, self.pos_embed[0, 1:])
        if self.config.grid[0] > 1:
            patches = patches + F.embedding(visible // places, self.temporal_pos_embedding[0])
        tokens = torch.cat((self.embed_class().expand(len(video), -1, -1), patches), dim=1).float()
        return tokens, torch.cat((visible.new_zeros(len(video), 1), visible + 1), dim=1)


def sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim) fp32: even columns sin, odd columns cos of position / 10000^(2 (column // 2) / dim).

    Source: arXiv 1706.03762, section 3.5. The class token is position 0.
    """
    column = torch.arange(dim, dtype=torch.float64, device="cpu")
    angle = torch.arange(length, dtype=torch.float64, device="cpu")[:, None] / 10000 ** (2 * (column // 2) / dim)
    return torch.where(column.long() % 2 == 0, angle.sin(), angle.cos()).float()
