"""CLIP vision towers of transformers with random weights, and what transformers itself computes with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from videomamba.schema import Preprocess

transformers = pytest.importorskip("transformers")

NARROW = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "projection_dim": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
}
"""The layout of ViT-B/16, narrow: heads 64 wide, patches of 16 pixels."""


def save_tower(folder: Path, *, seed: int = 0, spread: float = 0.08, **fields: object) -> Path:
    """A tower, NARROW but for `fields`, as transformers saves it. `spread` is noise, so that all its tensors differ."""
    transformers.utils.logging.disable_progress_bar()
    config = transformers.CLIPVisionConfig(**{**NARROW, **fields})
    tower = transformers.CLIPVisionModelWithProjection(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tower.parameters() if spread else ():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)
    tower.save_pretrained(folder)
    return folder


def open_tower(folder: Path) -> torch.nn.Module:
    """The tower as transformers opens it, with the attention that shows its weights."""
    transformers.utils.logging.disable_progress_bar()
    model: torch.nn.Module = transformers.CLIPVisionModelWithProjection.from_pretrained(
        folder, attn_implementation="eager"
    )
    return model.eval()


@torch.no_grad()
def hidden_and_row(tower: torch.nn.Module, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
    """Of pictures (n, 3, h, w): the hidden states (n, 1 + p, d) after each layer, and the class token's row (n, p)."""
    out = tower(pixel_values=pictures, output_hidden_states=True, output_attentions=True)
    return list(out.hidden_states[1:]), out.attentions[-1].mean(dim=1)[:, 0, 1:]


def to_clip(tokens: Tensor, clips: int) -> Tensor:
    """Tokens of the pictures (clips T, 1 + p, c) -> (clips, 1 + T p, c), the class token the mean over the frames."""
    each = tokens.reshape(clips, -1, *tokens.shape[1:])
    return torch.stack([torch.cat([e[:, 0].mean(dim=0)[None], *e[:, 1:]]) for e in each])


def normalised(raw: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(b, 3, t, h, w) in 0..1 -> the same shape."""
    return (raw - torch.tensor(mean).reshape(3, 1, 1, 1)) / torch.tensor(std).reshape(3, 1, 1, 1)


def raw_clips(clip: Preprocess, batch: int = 2) -> Tensor:
    """(b, 3, t, h, w) in 0..1, smooth enough for its resized form to mean something."""
    generator = torch.Generator().manual_seed(5)
    return torch.rand(batch, 3, clip.num_frames, *clip.image_size, generator=generator)


def in_openai_names(state: dict[str, Tensor], *, inflated: bool = True) -> dict[str, Tensor]:
    """The tensors of a tower under OpenAI's names; `inflated` as the original's teacher has them, for clips."""
    renamed = {
        "vision_model.embeddings.class_embedding": "class_embedding",
        "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    }
    words = {
        "vision_model.pre_layrnorm": "ln_pre",
        "vision_model.post_layernorm": "ln_post",
        "self_attn.out_proj": "attn.out_proj",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "vision_model.encoder.layers": "transformer.resblocks",
    }
    found = {}
    for key, value in state.items():
        name = renamed.get(key, key)
        for old, new in words.items():
            name = name.replace(old, new)
        if ".self_attn.q_proj." in name:
            layer, kind = name.split(".self_attn.q_proj.")
            parts = [state[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            found[f"{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
        elif name == "visual_projection.weight":
            found["proj"] = value.T.contiguous()
        elif name == "vision_model.embeddings.patch_embedding.weight":
            found["conv1.weight"] = value.unsqueeze(2) if inflated else value
        elif ".self_attn." not in name:
            found[name] = value
    return found
