"""Masked pretraining (the paper's masked modeling, after Unmasked Teacher, arXiv 2303.16058): a VideoMamba of visible patches.

A frozen teacher sees the complete clip. The student sees the visible patches alone, and a linear decoder maps its features to
the teacher's at the same places. Nothing is computed for masked patches.

Shapes: b batch, T p patches of a clip, v of them visible, d width, c width of the teacher, k layers that are compared.
"""

from __future__ import annotations

import math
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


class Decoders(nn.ModuleList):
    """The features of some layers of a VideoMamba, each decoded by its own `Decoder`. Without a `teacher_dim` there are none.

    `indices` are these layers, ascending; negative ones count from the last. The feature of a layer is the final norm of the
    stream after it. With `legacy`, that of the last layer is what the original compares by mistake: the stream before
    that layer, not normalised. `taps` are the layers whose streams it takes.

    Raises ValueError for indices that are not ascending layers.
    """

    def __init__(
        self, config: VideoMambaConfig, *, teacher_dim: int, indices: Sequence[int] = (-1,), legacy: bool = False
    ) -> None:
        depth = config.depth
        for i in indices:
            if not -depth <= i < depth:
                raise ValueError(f"there is no layer {i}: the indices are {-depth} to {depth - 1}")
        found = [i % depth for i in indices] if teacher_dim else []
        if teacher_dim and (not found or any(first >= second for first, second in pairwise(found))):
            raise ValueError(f"indices must be ascending layers, each once; got {list(indices)}")
        if legacy and teacher_dim and depth < 2:
            raise ValueError("the original's alignment needs two layers or more")
        super().__init__(Decoder(dim=config.dim, teacher_dim=teacher_dim) for _ in found)
        self.indices = found
        self._raw = [legacy and i == depth - 1 for i in found]
        self.taps = [i - raw for i, raw in zip(found, self._raw, strict=True)]
        self._positions = sinusoids(1 + math.prod(config.grid), config.dim)
        for decoder in self:
            assert isinstance(decoder, Decoder)
            if not decoder.head.weight.is_meta:
                init_linear(decoder.head)

    def forward(self, streams: Sequence[Tensor], slots: Tensor, norm: nn.Module, *, length: int) -> Tensor:
        """Streams (b, s, d) after `taps`, and the `slots` (b, s) of their tokens in a clip of `length` -> (k, b, s, c) fp32."""
        if length > len(self._positions):
            self._positions = sinusoids(length, self._positions.shape[1])
        positions = F.embedding(slots, self._positions.to(slots.device))
        return torch.stack(
            [
                decoder((stream if raw else norm(stream)) + positions)
                for raw, stream, decoder in zip(self._raw, streams, self, strict=True)
            ]
        )


class MaskedVideoMamba(VideoMamba):
    """The student of masked pretraining: a VideoMamba without a head, and a decoder for each layer that is compared.

    `indices` and `legacy` are those of `Decoders`. With `legacy` the last layer and the final norm have no part in the loss
    where only the last layer is compared, and the last layer has none in any case: they are frozen.

    The state dict is the original's, except that the final norm is `norm_f` as in all other networks, not `norm`. Raises
    ValueError for a config with a head or registers, and for indices that are not ascending layers.
    """

    def __init__(
        self, config: VideoMambaConfig, *, teacher_dim: int, indices: Sequence[int] = (-1,), legacy: bool = False
    ) -> None:
        if config.num_classes or config.num_registers:
            raise ValueError("masked pretraining has no head and no registers: num_classes and num_registers must be 0")
        super().__init__(config)
        self.clip_decoder = Decoders(
            config, teacher_dim=teacher_dim, indices=indices, legacy=legacy
        )  # the original's name, whatever the teacher
        self.legacy = legacy
        if legacy and self.clip_decoder.indices[-1] == config.depth - 1:
            self.layers[-1].requires_grad_(False)
            self.norm_f.requires_grad_(len(self.clip_decoder) > 1)

    def forward(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) and `visible` (b, v) -> (k, b, 1 + v, c) fp32: decoded features of class token and visible patches.

        `visible` int64 are patches counted over (T, h, w), ascending, as many of each clip; None: all of them.
        """
        check_video(self.config, video, None)
        if visible is None:
            visible = torch.arange(self.layout.length - 1, device=video.device).expand(len(video), -1)
        temporal = self.temporal_pos_embedding if self.config.grid[0] > 1 else None
        tokens, slots = embed_visible(self, video, visible, temporal)
        orders = (
            None if self.config.scan_order == "spatial_first" else visible_order(self.layout.temporal_order(), slots)
        )
        _, streams = self.encode(tokens, orders, taps=self.clip_decoder.taps)
        decoded: Tensor = self.clip_decoder(streams, slots, self.norm_f, length=self.layout.length)
        return decoded


def embed_visible(
    network: VideoMamba, video: Tensor, visible: Tensor, temporal: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The tokens (b, 1 + v, d) fp32 of class token and `visible` patches (b, v), equal to those of `embed`, and their slots.

    `temporal` (1, T, d) are the positions in time; None: there are none.
    """
    places = network.layout.places
    patches = network.patch_embed.embed_some(video, visible) + F.embedding(visible % places, network.pos_embed[0, 1:])
    if temporal is not None:
        patches = patches + F.embedding(visible // places, temporal[0])
    tokens = torch.cat((network.embed_class().expand(len(video), -1, -1), patches), dim=1).float()
    return tokens, torch.cat((visible.new_zeros(len(video), 1), visible + 1), dim=1)


def sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim) fp32: even columns sin, odd columns cos of position / 10000^(2 (column // 2) / dim).

    Source: arXiv 1706.03762, section 3.5. The class token is position 0.
    """
    column = torch.arange(dim, dtype=torch.float64, device="cpu")
    angle = torch.arange(length, dtype=torch.float64, device="cpu")[:, None] / 10000 ** (2 * (column // 2) / dim)
    return torch.where(column.long() % 2 == 0, angle.sin(), angle.cos()).float()
