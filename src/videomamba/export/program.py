"""The network as one graph of torch.export, whose numbers of clips and frames are free.

Shapes: b batch, t frames, T = t / tubelet time steps, p patches of a frame, l tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from videomamba.models.videomamba import VideoMamba
from videomamba.modules.scan_order import Order


class WholeClips(nn.Module):
    """video (b, 3, t, h, w) normalised -> what the network returns, for any number of frames up to the network's.

    All t frames are real, so that the result is that of `model(video, num_frames)` with t for each clip: a shorter clip has
    the first positions in time. A network with registers, which are spread over all tokens, has its own number of frames only.
    """

    def __init__(self, model: VideoMamba) -> None:
        super().__init__()
        self.model = model

    def forward(self, video: Tensor) -> Tensor:
        model = self.model
        if model.config.num_registers:
            return model(video)  # type: ignore[no-any-return]
        frames = torch.full((video.shape[0],), video.shape[2], dtype=torch.int64)
        tokens = model.embed(video, frames)
        orders = self._orders(video.shape[2] // model.config.tubelet_size)
        return model.classify(model.pool(model.encode(tokens, orders)))

    def _orders(self, steps: int) -> Order:
        """The temporal-first order of a clip of T = `steps` and its inverse, (l,), as operations that a graph can hold."""
        if self.model.config.scan_order == "spatial_first":
            return None
        places = self.model.layout.places
        first = torch.zeros(1, dtype=torch.int64)
        patches = 1 + torch.arange(steps * places)
        order = torch.cat((first, patches.view(steps, places).t().reshape(-1)))
        return order, torch.cat((first, patches.view(places, steps).t().reshape(-1)))


def frames_are_free(model: VideoMamba) -> bool:
    """Whether the exported network takes shorter clips than its own."""
    return model.config.grid[0] > 1 and not model.config.num_registers


@torch.no_grad()
def trace(model: VideoMamba) -> ExportedProgram:
    """The graph of `model` in evaluation mode, without gradients; the operators of the package are opaque nodes in it."""
    config = model.config
    sizes: dict[int, object] = {0: Dim("batch", min=1)}
    if frames_are_free(model):
        sizes[2] = config.tubelet_size * Dim("steps", min=1, max=config.grid[0])
    example = torch.zeros(2, 3, config.num_frames, *config.image_size)
    return torch.export.export(WholeClips(model.eval()), (example,), dynamic_shapes=(sizes,), strict=False)
