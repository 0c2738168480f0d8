"""The video tower beside a text tower: a VideoMamba that gives its tokens, and one vector for each frame.

Shapes: b clips, t frames, T = t / tubelet time steps, p patches of a frame, v visible patches of a clip, d width, k layers that
are compared with a teacher, c its width.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

from videomamba.models.check import check_pixels, check_video
from videomamba.models.config import VideoMambaConfig
from videomamba.models.init import undrawn
from videomamba.models.masked import Decoders, embed_visible
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.embed import resize_temporal
from videomamba.modules.scan_order import Order, TokenLayout, visible_order
from videomamba.modules.text import LayerNorm

Pool = Literal["cls+avg", "cls", "avg"]


class VideoFeatures(NamedTuple):
    """What the video tower knows of clips.

    `memory` (b, v, d) fp32 are the visible patch tokens after the final norm, without the class token. `pooled` (b, P, d) fp32
    are P = T vectors, one for each time step, or P = 1 for the complete clip. `aligned` (k, b, 1 + v, c) fp32 are the decoded
    features of class token and visible patches, None without decoders.
    """

    memory: Tensor
    pooled: Tensor
    aligned: Tensor | None


class VideoTower(VideoMamba):
    """A VideoMamba without a head that takes clips of any number of frames, visible patches, and single pictures.

    A clip of one time step is a picture: it has no temporal embedding. A picture for a network with tubelets is repeated to
    fill one. For another number of time steps than the config's the temporal embedding is interpolated, linear.

    `pool` says which vectors are pooled: class token, mean of the patches, or their sum, always under `pool_norm`; None: no
    vectors and no `pool_norm`. With a `teacher_dim` there are decoders as in masked pretraining, see `masked.Decoders`.

    The state dict is that of `VideoMamba`, with `pool_norm.*` and `clip_decoder.*`, so a network from masked pretraining starts
    it. Raises ValueError for a config with a head or registers.
    """

    def __init__(
        self,
        config: VideoMambaConfig,
        *,
        pool: Pool | None = "cls+avg",
        teacher_dim: int = 0,
        align_layers: tuple[int, ...] = (-1,),
        legacy: bool = False,
    ) -> None:
        if config.num_classes or config.num_registers:
            raise ValueError("a video tower has no head and no registers: num_classes and num_registers must be 0")
        super().__init__(config)
        self.clip_decoder = Decoders(config, teacher_dim=teacher_dim, indices=align_layers, legacy=legacy)
        self.pooling = pool
        if pool is not None:
            self.pool_norm = LayerNorm(config.dim, eps=1e-5)

    @classmethod
    def without_weights(
        cls,
        config: VideoMambaConfig,
        *,
        pool: Pool | None = "cls+avg",
        teacher_dim: int = 0,
        align_layers: tuple[int, ...] = (-1,),
        legacy: bool = False,
    ) -> Self:
        """See `VideoMamba.without_weights`."""
        return undrawn(
            partial(cls, config, pool=pool, teacher_dim=teacher_dim, align_layers=align_layers, legacy=legacy)
        )

    def forward(  # type: ignore[override]  # text reads more than one vector
        self, video: Tensor, visible: Tensor | None = None, *, per_frame: bool = True
    ) -> VideoFeatures:
        """(b, 3, t, h, w) normalised, and `visible` patches (b, v) int64 over (T, h, w), ascending; None: all.

        With `per_frame` there is a pooled vector for each time step where each has equally many visible patches, which waits
        for the device of `visible` to tell. The class token is part of the vector of each frame.
        """
        steps, tokens, aligned = self._read(video, visible)
        memory = tokens[:, 1:]
        return VideoFeatures(memory, self._pooled(tokens, visible, steps if per_frame else 1), aligned)

    def tokens(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """(b, 3, t, h, w) -> (b, 1 + v, d) fp32 after the final norm: the class token, then the visible patches."""
        return self._read(video, visible)[1]

    def _read(self, video: Tensor, visible: Tensor | None) -> tuple[int, Tensor, Tensor | None]:
        """The time steps of the clip, its tokens after the final norm, and the decoded features."""
        tubelet = self.config.tubelet_size
        check_pixels(video)
        if video.ndim == 5 and video.shape[2] == 1:
            video = video.expand(-1, -1, tubelet, -1, -1)
        self._check_clip(video)
        steps = video.shape[2] // tubelet
        layout = TokenLayout(steps, self.layout.places)
        temporal = self._temporal_positions(steps)
        if visible is None:
            patches = self.embed_patches(video, temporal).flatten(1, 2)
            tokens = torch.cat((self.embed_class().expand(len(patches), -1, -1), patches), dim=1).float()
            slots = torch.arange(layout.length, device=tokens.device).expand(len(tokens), -1)
        else:
            tokens, slots = embed_visible(self, video, visible, temporal)
        orders: Order = None
        if self.config.scan_order != "spatial_first":
            orders = layout.temporal_order() if visible is None else visible_order(layout.temporal_order(), slots)
        stream, streams = self.encode(tokens, orders, taps=self.clip_decoder.taps)
        aligned = self.clip_decoder(streams, slots, self.norm_f, length=layout.length) if streams else None
        return steps, self.norm_f(stream), aligned

    def _check_clip(self, video: Tensor) -> None:
        frames = video.shape[2] if video.ndim == 5 else self.config.num_frames
        if frames % self.config.tubelet_size or not frames:
            raise ValueError(f"a clip has whole tubelets of {self.config.tubelet_size} frames, got {frames} frames")
        check_video(self.config.model_copy(update={"num_frames": frames}), video, None)

    def _temporal_positions(self, steps: int) -> Tensor | None:
        """(1, steps, d), None for a picture."""
        if steps == 1:
            return None
        if self.config.grid[0] == 1:
            raise ValueError(
                f"a network of one time step has no positions in time for {steps}: create it with more num_frames"
            )
        positions: Tensor = self.temporal_pos_embedding
        return positions if steps == positions.shape[1] else resize_temporal(positions, steps)

    def _pooled(self, tokens: Tensor, visible: Tensor | None, steps: int) -> Tensor:
        """Tokens (b, 1 + v, d) after the final norm -> (b, P, d)."""
        if self.pooling is None:
            return tokens[:, :0]
        parts = []
        if "cls" in self.pooling:
            parts.append(tokens[:, :1])
        if "avg" in self.pooling:
            frames = steps if visible is None or _in_equal_shares(visible, steps, self.layout.places) else 1
            batch, length, dim = tokens.shape
            parts.append(tokens[:, 1:].reshape(batch, frames, (length - 1) // frames, dim).mean(dim=2))
        pooled: Tensor = self.pool_norm(sum(parts[1:], parts[0]))
        return pooled


def _in_equal_shares(visible: Tensor, steps: int, places: int) -> bool:
    """Whether each of `steps` frames has as many of the patches (b, v), in each clip."""
    batch, count = visible.shape
    if count % steps:
        return False
    frames = visible.view(batch, steps, -1) // places
    return bool((frames == torch.arange(steps, device=visible.device)[:, None]).all())
