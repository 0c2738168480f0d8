"""The network of an index: clips, and sentences if it has learned some, as vectors of length 1."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from videomamba.schema import Clip, Preprocess, VideoMambaError
from videomamba.serving.clip_model import Precision
from videomamba.serving.embedder import Embedder
from videomamba.serving.video_text import TextEmbedder
from videomamba.weights.video_text import is_video_text
from videomamba.weights.zoo import resolve_weights


class Encoder:
    """A VideoMamba, with or without a head, or a video-text model; `reads_text` tells which. `dim` is the width of a vector."""

    def __init__(self, model: Embedder | TextEmbedder) -> None:
        self.model = model

    @classmethod
    def open(
        cls,
        name_or_path: str,
        *,
        num_frames: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        device: str = "cpu",
        precision: Precision = "fp32",
    ) -> Encoder:
        """A zoo name or a weights file. Raises WeightsError for weights that are absent, damaged or incomplete."""
        kind = TextEmbedder if is_video_text(resolve_weights(name_or_path)) else Embedder
        model = kind.from_pretrained(
            name_or_path, num_frames=num_frames, image_size=image_size, device=device, precision=precision
        )
        return cls(model)

    @property
    def dim(self) -> int:
        return self.model.dim

    @property
    def preprocess(self) -> Preprocess:
        return self.model.preprocess

    @property
    def reads_text(self) -> bool:
        return isinstance(self.model, TextEmbedder)

    def vectors(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """(number of clips, d) fp32 of length 1; the numbers need not be finite."""
        return _of_length_one(self.model.features(clips))

    def text(self, text: str) -> NDArray[np.float32]:
        """(1, d) fp32 of length 1. Raises VideoMambaError for a model that reads no text, and for a text without words."""
        if not isinstance(self.model, TextEmbedder):
            raise VideoMambaError(f"{self.model.name}: reads no text; give a video-text model")
        return _of_length_one(self.model.texts([text]))


def weights_digest(name_or_path: str) -> str:
    """The SHA-256 of the weights file. Raises WeightsError when it is absent."""
    with resolve_weights(name_or_path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_length_one(features: Tensor) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = F.normalize(features.double(), dim=-1).float().numpy()
    return vectors
