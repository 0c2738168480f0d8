"""Small video-text models with every tensor random, and files in the exact formats of the original."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from videomamba.data.text.tokenizer import SPECIAL, Tokenizer
from videomamba.models.config import VideoMambaConfig
from videomamba.models.text import TextConfig
from videomamba.models.video_text import VideoText, VideoTextConfig

WORDS = (*SPECIAL, *(f"word{i}" for i in range(15)))
TOKENIZER = Tokenizer(WORDS)
CONFIG = VideoTextConfig(
    video=VideoMambaConfig(num_classes=0, dim=32, depth=2, num_frames=4, image_size=32),
    text=TextConfig(
        vocab_size=len(WORDS), dim=64, depth=3, heads=1, hidden_dim=48, fusion_from=2, max_positions=20, dropout=0
    ),
    embed_dim=24,
    teacher_dim=40,
    legacy=True,
)


def build_video_text(seed: int = 0, **fields: object) -> VideoText:
    """CONFIG but for `fields`; "video" and "text" are changes of those."""
    parts = {
        name: getattr(CONFIG, name).model_copy(update=fields.pop(name)) for name in ("video", "text") if name in fields
    }
    config = VideoTextConfig.model_validate(
        {**CONFIG.model_dump(), **{k: v.model_dump() for k, v in parts.items()}, **fields}
    )
    model = VideoText(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
        model.temp.fill_(0.05)
    return model.eval()


def in_original_names(model: VideoText, *, teacher: bool = True, downstream: bool = False) -> dict[str, Tensor]:
    """The state dict that the original's code saves for `model`, with its CLIP teacher; `downstream`: as after fine-tuning."""
    tensors = {}
    for key, value in model.state_dict().items():
        if downstream and (key.startswith("text_encoder.cls.") or ".clip_decoder." in key):
            continue
        key = key.replace("vision_encoder.norm_f.", "vision_encoder.norm.")
        tensors[key.replace("text_encoder.bert.", "text_encoder.") if downstream else key] = value.clone()
    bert = "text_encoder." if downstream else "text_encoder.bert."
    tensors[f"{bert}embeddings.position_ids"] = torch.arange(model.config.text.max_positions)[None]
    if not downstream:
        predictions = "text_encoder.cls.predictions."
        tensors[predictions + "decoder.weight"] = tensors[f"{bert}embeddings.word_embeddings.weight"].clone()
        tensors[predictions + "decoder.bias"] = tensors[predictions + "bias"].clone()
    if teacher and not downstream:
        tensors |= {f"clip_teacher.{name}": torch.ones(shape) for name, shape in clip_teacher(width=64, depth=2)}
    return tensors


def clip_teacher(*, width: int, depth: int, patches: int = 4, out: int = 40) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a CLIP's vision tower in OpenAI's names, patches inflated to clips."""
    yield from (("class_embedding", (width,)), ("positional_embedding", (1 + patches, width)), ("proj", (width, out)))
    yield "conv1.weight", (width, 3, 1, 16, 16)
    for norm in ("ln_pre", "ln_post"):
        yield from ((f"{norm}.{kind}", (width,)) for kind in ("weight", "bias"))
    for i in range(depth):
        block = f"transformer.resblocks.{i}"
        yield from ((f"{block}.attn.in_proj_weight", (3 * width, width)), (f"{block}.attn.in_proj_bias", (3 * width,)))
        for name, rows, columns in (
            ("attn.out_proj", width, width),
            ("mlp.c_fc", 4 * width, width),
            ("mlp.c_proj", width, 4 * width),
        ):
            yield from ((f"{block}.{name}.weight", (rows, columns)), (f"{block}.{name}.bias", (rows,)))
        for name in ("ln_1", "ln_2"):
            yield from ((f"{block}.{name}.{kind}", (width,)) for kind in ("weight", "bias"))
