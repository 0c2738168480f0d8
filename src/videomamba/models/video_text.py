"""Video and text in one space: a video tower, a text tower that also reads video tokens, and what compares them.

Sources: arXiv 2403.06977, and Unmasked Teacher, arXiv 2303.16058.

Shapes: b clips or texts, t frames, T time steps, v visible patches, l tokens of a text, m tokens of a memory, P vectors of a
video, d the width of the video tower, s that of the text tower, e of their common space.
"""

from __future__ import annotations

from functools import partial
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from videomamba.models.config import VideoMambaConfig
from videomamba.models.init import init_text, undrawn
from videomamba.models.text import TextConfig, TextTower
from videomamba.models.video_tower import Pool, VideoFeatures, VideoTower

TEMPERATURES = (0.001, 0.5)
"""The range of the learned temperature."""


class VideoTextConfig(BaseModel):
    """One video-text model. Every default is that of the released weights, except that these have a UTA decoder of 512."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: VideoMambaConfig
    text: TextConfig = Field(default_factory=TextConfig)
    embed_dim: int = Field(default=512, ge=1, description="width of the common space")
    pool: Pool = "cls+avg"
    words: bool = Field(default=True, description="whether there is a head that predicts masked words")
    teacher_dim: int = Field(default=0, ge=0, description="width of a teacher of video tokens; 0: no decoder for one")
    align_layers: tuple[int, ...] = Field(default=(-1,), description="layers that are compared with the teacher")
    legacy: bool = Field(default=False, description="compare the stream before the last layer, as the original does")

    @model_validator(mode="after")
    def _headless(self) -> Self:
        if self.video.num_classes or self.video.num_registers:
            raise ValueError("video: num_classes and num_registers must be 0")
        return self


class VideoText(nn.Module):
    """Video tower, text tower, their projections into one space, and a head that tells whether a text belongs to a video.

    The state dict is the original's, except that the final norm of the video tower is `norm_f` and that nothing is repeated,
    see `TextTower`. Logits, similarities and temperature are fp32, under autocast too.
    """

    def __init__(self, config: VideoTextConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_encoder = VideoTower(
            config.video,
            pool=config.pool,
            teacher_dim=config.teacher_dim,
            align_layers=config.align_layers,
            legacy=config.legacy,
        )
        self.text_encoder = TextTower(config.text, memory_dim=config.video.dim, words=config.words)
        self.vision_proj = nn.Linear(config.video.dim, config.embed_dim)
        self.text_proj = nn.Linear(config.text.dim, config.embed_dim)
        self.itm_head = nn.Linear(config.text.dim, 2)
        self.temp = nn.Parameter(torch.tensor(0.07))
        for layer in (self.vision_proj, self.text_proj, self.itm_head):
            init_text(layer)

    @classmethod
    def without_weights(cls, config: VideoTextConfig) -> Self:
        """See `VideoMamba.without_weights`."""
        return undrawn(partial(cls, config))

    def forward(self, video: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Clips (n, 3, t, h, w) and texts (m, l) -> their similarities (n, m) in -1..1."""
        videos = self.embed_videos(self.encode_video(video).pooled)
        return similarity(videos, self.embed_texts(self.encode_text(ids, mask)))

    def encode_video(self, video: Tensor, visible: Tensor | None = None, *, per_frame: bool = True) -> VideoFeatures:
        """(b, 3, t, h, w) normalised, and `visible` patches (b, v) int64 over (T, h, w), ascending, or all of them.

        t is 1 for pictures. It may differ from the config's num_frames: positions in time are then interpolated. In a batch
        of pictures, `temporal_pos_embedding` has no part. `per_frame`: see `VideoTower.forward`.
        """
        features: VideoFeatures = self.vision_encoder(video, visible, per_frame=per_frame)
        return features

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Tokens (b, l) int64 and their mask (b, l) bool, True for real ones -> (b, l, s) fp32, of the text alone."""
        return self.text_encoder.encode(ids, mask)

    def embed_videos(self, pooled: Tensor) -> Tensor:
        """(b, P, d) -> (b, P, e) fp32 of length 1."""
        return F.normalize(_in_fp32(self.vision_proj, pooled), dim=-1)

    def embed_texts(self, states: Tensor) -> Tensor:
        """States (b, l, s) of `encode_text` -> (b, e) fp32 of length 1, from the first token."""
        return F.normalize(_in_fp32(self.text_proj, states[:, 0]), dim=-1)

    def fuse(self, states: Tensor, mask: Tensor, memory: Tensor) -> Tensor:
        """States (b, l, s) of `encode_text`, reading `memory` (b, m, d), or (1, m, d) of one video for all -> (b, l, s)."""
        return self.text_encoder.fuse(states, mask, memory)

    def match(self, fused: Tensor) -> Tensor:
        """(b, l, s) of `fuse` -> logits (b, 2) fp32; index 1: the text belongs to the video."""
        return _in_fp32(self.itm_head, fused[:, 0])

    def predict_words(self, fused: Tensor) -> Tensor:
        """(..., s) of `fuse` -> scores of all words (..., vocabulary) fp32. Raises ValueError without `config.words`."""
        return self.text_encoder.words(fused)

    @property
    def temperature(self) -> Tensor:
        """`temp` within `TEMPERATURES`, 0-dim fp32. Its gradient is that of `temp`, so that a value outside can return."""
        temp = self.temp.float()
        return temp.clamp(*TEMPERATURES).detach() + (temp - temp.detach())

    def recompute_activations(self, first_blocks: int, *, text: bool = True) -> None:
        """In training the first blocks of the video tower, and the layers of the text tower, run again in the backward pass."""
        self.vision_encoder.recompute_activations(first_blocks)
        self.text_encoder.recompute_activations(text)


def similarity(videos: Tensor, texts: Tensor) -> Tensor:
    """Vectors of length 1, (n, P, e) and (m, e) -> (n, m) fp32: the mean over P of their cosines. Under autocast too."""
    with torch.autocast(videos.device.type, enabled=False):
        return videos.float().mean(dim=1) @ texts.float().T


def _in_fp32(layer: nn.Linear, x: Tensor) -> Tensor:
    """layer(x) with weights and product in fp32."""
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.float(), layer.weight.float(), layer.bias.float())
