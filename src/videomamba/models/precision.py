"""bf16 where it pays: in the matrix products. Everything that accumulates over the sequence stays in fp32."""

from __future__ import annotations

import torch
from torch import nn

from videomamba.models.videomamba import VideoMamba
from videomamba.modules.mixer import BiMamba


def cast_products(model: VideoMamba, dtype: torch.dtype) -> None:
    """Casts, once and in place, the weights of the matrix products to `dtype`: patch embedding and the mixers' projections.

    Norms, positions, convolutions, A, D, the bias of delta, the residual stream and the head keep theirs.
    """
    model.patch_embed.to(dtype)
    for module in model.modules():
        if isinstance(module, BiMamba):
            projections: tuple[nn.Linear, ...] = (module.in_proj, module.out_proj)
            projections += (module.x_proj, module.x_proj_b, module.dt_proj, module.dt_proj_b)
            for projection in projections:
                projection.weight.data = projection.weight.data.to(dtype)
