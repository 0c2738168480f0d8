"""Videos and sentences as vectors in one space: near each other where the sentence describes the video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.data.text.clean import clean_caption
from videomamba.data.text.tokenizer import Tokenizer
from videomamba.models.video_text import VideoText
from videomamba.schema import Clip, Preprocess, VideoMambaError
from videomamba.serving.clip_model import ClipModel, Precision
from videomamba.weights.released import TEXT_MODEL
from videomamba.weights.video_text import open_video_text


class TextEmbedder(ClipModel):
    """Turns clips and sentences into vectors of width `dim` and length 1; the cosine of two says how well they fit.

    Sentences have at most `max_length` tokens of `tokenizer`; the rest is cut off.
    """

    def __init__(
        self,
        network: VideoText,
        preprocess: Preprocess,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        device: str | torch.device = "cpu",
        precision: Precision = "fp32",
        name: str = "",
        assumed: str = "",
        knows: str = "",
    ) -> None:
        super().__init__(
            network.vision_encoder,
            preprocess,
            device=device,
            precision=precision,
            name=name,
            assumed=assumed,
            knows=knows,
        )
        self.network, self.tokenizer, self.max_length = network.eval().to(self.device), tokenizer, max_length

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = TEXT_MODEL,
        *,
        num_frames: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        tokenizer: str | Path | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "fp32",
    ) -> Self:
        """Opens a zoo name or a weights file of a video-text model, as `weights.video_text.open_video_text` does.

        Raises WeightsError for weights that are absent, damaged, incomplete or of another kind.
        """
        opened = open_video_text(name_or_path, num_frames=num_frames, image_size=image_size, tokenizer=tokenizer)
        return cls(
            opened.model,
            opened.preprocess,
            opened.tokenizer,
            max_length=opened.max_length,
            device=device,
            precision=precision,
            name=str(name_or_path),
            assumed=opened.assumed,
            knows=opened.knows,
        )

    @property
    def dim(self) -> int:
        """e, the width of the common space."""
        return self.network.config.embed_dim

    def features(self, clips: Sequence[Clip]) -> Tensor:
        """(number of clips, e) fp32 on the CPU, of length 1: the mean over the frames of a clip."""
        return self._in_batches(self._of_videos, clips)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """(number of texts, e) fp32 on the CPU, of length 1. Texts are cleaned as captions are in training.

        Raises VideoMambaError for a text without words, or of words that the vocabulary cannot write.
        """
        plain = [clean_caption(text) for text in texts]
        for text, words in zip(texts, plain, strict=True):
            if not words:
                raise VideoMambaError(f"{text!r}: has no words; describe what the video shows")
        tokens = self.tokenizer(plain, max_length=self.max_length).to(self.device)
        word = tokens.mask & (tokens.ids != self.tokenizer.cls) & (tokens.ids != self.tokenizer.sep)
        for text, known in zip(texts, (word & (tokens.ids != self.tokenizer.unk)).any(dim=1).tolist(), strict=True):
            if not known:
                raise VideoMambaError(f"{text!r}: the model knows none of these words; it reads plain English")
        return self.network.embed_texts(self.network.encode_text(tokens.ids, tokens.mask)).float().cpu()

    def _of_videos(self, batch: Tensor) -> Tensor:
        vectors = self.network.embed_videos(self.network.encode_video(batch).pooled)  # (b, P, e)
        return F.normalize(vectors.mean(dim=1), dim=-1)
