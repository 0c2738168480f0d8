"""The student of self-distillation: a VideoMamba whose tokens are also projected to the width of its teacher.

Shapes: b clips, t frames, T time steps, p patches of a frame, d width, c width of the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videomamba.models.config import VideoMambaConfig
from videomamba.models.init import init_linear, undrawn
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.block import RMSNorm

PROJECTION = "distill_head."
"""How the names of the projection begin, as in the original's checkpoints."""


class DistilledVideoMamba(VideoMamba):
    """A VideoMamba with `distill_head`, the projection that training needs and `trunk_weights` drops.

    The parameters of the VideoMamba are drawn first: from one seed it starts as a network without the projection does.
    `teacher_dim` is by default that of the small network, as in the original.
    """

    def __init__(self, config: VideoMambaConfig, teacher_dim: int = 384) -> None:
        super().__init__(config)
        projection = nn.Linear(config.dim, teacher_dim)
        self.distill_head = nn.Sequential(RMSNorm(config.dim, eps=1e-5), projection)
        if not projection.weight.is_meta:
            init_linear(projection)

    @classmethod
    def without_weights(cls, config: VideoMambaConfig, teacher_dim: int = 384) -> Self:
        """See `VideoMamba.without_weights`."""
        return undrawn(partial(cls, config, teacher_dim))

    def forward(  # type: ignore[override]  # training reads both; `forward_features` and others are those of the base
        self, video: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(b, 3, t, h, w) -> logits (b, num_classes), and unit vectors (b, 1 + T p, c) fp32: class token, then patches.

        Registers have no vectors. Both come from one pass through the blocks.
        """
        stream = self.encode(self.embed(video))
        tokens = self.norm_f(stream)
        if self.config.num_registers:
            tokens = torch.cat((tokens[:, :1], self.layout.patches(tokens)), dim=1)
        return self.classify(self.pool(stream)), F.normalize(self.distill_head(tokens).float(), dim=-1)


def trunk_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the VideoMamba in that of a student: all but the projection."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(PROJECTION)}
