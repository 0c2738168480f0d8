"""Networks of Hugging Face transformers to compare with, random weights. The extra `peers`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from videomamba.bench.attention import PATCH_SIZE, Attending, Transformer, inference

ABSENCE = "transformers is not installed: pip install 'videomamba[peers]'"


def available() -> bool:
    """Whether transformers is installed; nothing is imported."""
    return importlib.util.find_spec("transformers") is not None


@dataclass(frozen=True)
class Peer:
    """A network of size B with the defaults of its config, except for length and picture."""

    name: str
    config: str
    """Its class in transformers."""
    tubelet: int
    """Frames in a patch."""
    attention: str
    """The implementation that transformers uses."""
    mixing: str

    def cost(self, *, frames: int, size: int) -> Transformer:
        """The arithmetic of one clip of `frames` frames, a multiple of the tubelet, of `size` pixels a side."""
        places, steps = (size // PATCH_SIZE) ** 2, frames // self.tubelet
        patches = places * steps
        tokens = patches if self.config == "VideoMAEConfig" else 1 + patches
        joint = (Attending(1, tokens),)
        # The patches of a place attend over time, with one more product; then those of a frame, with a class token.
        divided = (Attending(places, steps, products=5), Attending(steps, 1 + places))
        return Transformer(
            patches=patches,
            patch_inputs=3 * self.tubelet * PATCH_SIZE**2,
            tokens=tokens,
            dim=768,
            heads=12,
            depth=12,
            classes=2,
            attending=divided if self.config == "TimesformerConfig" else joint,
        )


TIMESFORMER_B = Peer("TimeSformer-B", "TimesformerConfig", 1, "eager", "attention over time, then over each frame")
PEERS: Mapping[str, Peer] = {
    "timesformer-b": TIMESFORMER_B,
    "vivit-b": Peer("ViViT-B", "VivitConfig", 2, "sdpa", "attention of all to all"),
    "videomae-b": Peer("VideoMAE-B", "VideoMAEConfig", 2, "sdpa", "attention of all to all"),
}


def peer_inference(
    peer: Peer, *, frames: int, size: int, dtype: torch.dtype, device: str = "cpu"
) -> Callable[[], object]:
    """`peer` in `dtype` with random weights on one clip (1, frames, 3, size, size); the call returns its logits (1, 2)."""
    import transformers

    config = getattr(transformers, peer.config)(image_size=size, num_frames=frames)
    of_config: Callable[..., torch.nn.Module] = transformers.AutoModelForVideoClassification.from_config
    model = of_config(config, attn_implementation=peer.attention)
    model.eval().to(device, dtype)
    clip = torch.randn(1, frames, 3, size, size, dtype=dtype, device=device)
    return inference(lambda: model(clip).logits)
