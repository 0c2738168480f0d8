"""Small models with every tensor random, and files in the exact formats that were released."""

from __future__ import annotations

import torch

from videomamba.models.config import VideoMambaConfig
from videomamba.models.videomamba import VideoMamba


def build_model(seed: int = 0, **fields: object) -> VideoMamba:
    """A VideoMamba whose tensors all differ, so that none can be right because it was left as it started."""
    defaults = {"dim": 32, "depth": 2, "num_classes": 5, "num_frames": 4, "image_size": 32}
    model = VideoMamba(VideoMambaConfig.model_validate({**defaults, **fields}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return model


def released_format(model: VideoMamba, kind: str) -> dict[str, object]:
    """What the original's code saves for `model`; the kinds are the zoo's, and "student" of self-distillation."""
    tensors = {key: value.clone() for key, value in model.state_dict().items()}
    dim = model.config.dim
    if kind in ("image", "student"):
        tensors["patch_embed.proj.weight"] = tensors["patch_embed.proj.weight"].squeeze(2)
        if kind == "student":
            tensors |= {"distill_head.0.weight": torch.ones(dim), "distill_head.1.weight": torch.ones(384, dim)}
            tensors |= {"distill_head.1.bias": torch.ones(384)}
        return {"model": tensors}
    if kind == "video":
        return dict(tensors)
    tensors["norm.weight"] = tensors.pop("norm_f.weight")
    tensors |= {"clip_decoder.0.head.weight": torch.ones(512, dim), "clip_decoder.0.head.bias": torch.ones(512)}
    tensors |= {"clip_decoder.0.norm.weight": torch.ones(512), "clip_decoder.0.norm.bias": torch.ones(512)}
    if kind == "masked":
        return {"model": tensors}
    tensors |= {"pool_norm.weight": torch.ones(dim), "pool_norm.bias": torch.ones(dim)}
    whole = {f"vision_encoder.{key}": value for key, value in tensors.items()}
    whole |= {
        "temp": torch.tensor(0.07),
        "vision_proj.weight": torch.ones(512, dim),
        "vision_proj.bias": torch.ones(512),
    }
    whole |= {"text_proj.weight": torch.ones(512, 768), "itm_head.bias": torch.ones(2)}
    whole |= {"text_encoder.bert.encoder.layer.0.attention.self.query.bias": torch.ones(768)}
    whole |= {"clip_teacher.transformer.resblocks.0.ln_1.bias": torch.ones(768)}
    return {"model": {key: value.bfloat16() for key, value in whole.items()}}
