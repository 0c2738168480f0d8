"""A tiny video-text model with definite answers, and captions for the videos of `write_videos`."""

from __future__ import annotations

from pathlib import Path

import torch

from videomamba.data.text.tokenizer import SPECIAL, Tokenizer
from videomamba.models.config import VideoMambaConfig
from videomamba.models.text import TextConfig
from videomamba.models.video_text import VideoText, VideoTextConfig
from videomamba.schema import Annotation, Captions, Preprocess, VideoRecord, VideoSet

WORDS = ("a", "man", "dog", "runs", "jumps", "turns", "left", "right", "slowly", "red", "blue", "big")
TOKENIZER = Tokenizer((*SPECIAL, *WORDS))
PREPROCESS = Preprocess(num_frames=4, image_size=(32, 32))


def tiny_video_text(seed: int = 0, *, scale: float = 0.5) -> VideoText:
    """Random, with weights so large that videos and texts differ clearly."""
    video = VideoMambaConfig(num_classes=0, num_frames=4, image_size=(32, 32), patch_size=16, depth=2, dim=16)
    text = TextConfig(
        vocab_size=len(TOKENIZER), dim=16, depth=3, heads=2, hidden_dim=32, fusion_from=2, max_positions=16
    )
    torch.manual_seed(seed)
    model = VideoText(VideoTextConfig(video=video, text=text, embed_dim=8)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "A_" not in name:
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def captioned(paths: list[Path], captions: list[tuple[str, ...]]) -> VideoSet:
    return annotated(paths, [Captions(texts) for texts in captions])


def annotated(paths: list[Path], annotations: list[Annotation]) -> VideoSet:
    records = [VideoRecord(str(path), annotation) for path, annotation in zip(paths, annotations, strict=True)]
    return VideoSet("test", tuple(records))


def caption(number: int) -> str:
    """A text of 2 to 7 words; another for each number below 12 ** 2."""
    words = [WORDS[number % 12], WORDS[number // 12 % 12], *WORDS[number % 6 : number % 6 + number % 5]]
    return " ".join(words)
