"""The paper's TimeSformer-Ti, joint space-time attention on DeiT-Ti, and the arithmetic of transformers for video.

Shapes: b batch, t frames, p patches of a frame, l = 1 + t p tokens, d width, h heads, e = d / h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from videomamba.bench.flops import NORM_OPERATIONS

Form = Literal["materialised", "fused"]

PATCH_SIZE = 16
MLP_RATIO = 4
FUSED_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]


def inference(forward: Callable[[], object]) -> Callable[[], object]:
    """`forward` without gradients. In it scaled_dot_product_attention is one of the fused kernels; it raises RuntimeError
    where none of them serves, instead of materialising the scores."""

    def call() -> object:
        with torch.inference_mode(), sdpa_kernel(FUSED_KERNELS):
            return forward()

    return call


class JointTimeSformer(nn.Module):
    """A vision transformer whose tokens, those of all frames and the class token, all attend to all.

    The defaults are DeiT-Ti. `attention`: "materialised" keeps the (l, l) scores in memory, as the code of ViT and
    TimeSformer does; "fused" is PyTorch's scaled_dot_product_attention. Weights and results are the same.
    """

    def __init__(
        self,
        *,
        num_frames: int,
        image_size: int,
        attention: Form,
        dim: int = 192,
        heads: int = 3,
        depth: int = 12,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, PATCH_SIZE, stride=PATCH_SIZE)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + (image_size // PATCH_SIZE) ** 2, dim))
        self.time_embed = nn.Parameter(torch.empty(1, num_frames, dim))
        self.blocks = nn.Sequential(*(JointBlock(dim=dim, heads=heads, attention=attention) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)
        for embedding in (self.cls_token, self.pos_embed, self.time_embed):
            nn.init.trunc_normal_(embedding, std=0.02)

    def forward(self, video: Tensor) -> Tensor:
        """(b, 3, t, h, w) -> logits (b, num_classes)."""
        b, _, t, _, _ = video.shape
        patches = self.patch_embed(rearrange(video, "b c t h w -> (b t) c h w"))  # (b t, d, rows, columns)
        patches = rearrange(patches, "(b t) d y x -> b t (y x) d", b=b)
        patches = patches + self.pos_embed[:, 1:].unsqueeze(1) + self.time_embed[:, :t].unsqueeze(2)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(b, -1, -1)
        tokens = self.blocks(torch.cat((cls, patches.flatten(1, 2)), dim=1))  # (b, l, d)
        logits: Tensor = self.head(self.norm(tokens)[:, 0])
        return logits


class JointBlock(nn.Module):
    """Attention and MLP, each after its norm and added to its input."""

    def __init__(self, *, dim: int, heads: int, attention: Form) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = SelfAttention(dim=dim, heads=heads, form=attention)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, MLP_RATIO * dim), nn.GELU(), nn.Linear(MLP_RATIO * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        x = x + self.attention(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class SelfAttention(nn.Module):
    def __init__(self, *, dim: int, heads: int, form: Form) -> None:
        super().__init__()
        self.heads, self.form = heads, form
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        q, k, v = rearrange(self.qkv(x), "b l (three h e) -> three b h l e", three=3, h=self.heads)
        if self.form == "fused":
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            # As in the published code nothing is done in place: two (b, h, l, l) tensors exist at once.
            scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
            scores = scores.softmax(dim=-1)
            mixed = scores @ v
        result: Tensor = self.proj(rearrange(mixed, "b h l e -> b l (h e)"))
        return result


@dataclass(frozen=True)
class Attending:
    """In one layer `groups` sets of `length` tokens, each of which attends within its set.

    `products` counts the (d, d) matrices of each of these tokens: three for q, k, v and those after.
    """

    groups: int
    length: int
    products: int = 4


@dataclass(frozen=True)
class Transformer:
    """The sizes of a transformer that determine its cost for one clip, in tokens, channels and layers."""

    patches: int
    patch_inputs: int
    """Numbers in a patch: 3 channels of its pixels in all its frames."""
    tokens: int
    dim: int
    heads: int
    depth: int
    classes: int
    attending: tuple[Attending, ...]

    @property
    def products(self) -> int:
        """Multiply-accumulates of all matrix products, with those of the attention, without bias."""
        each = sum(a.groups * a.length * (a.products * self.dim**2 + 2 * a.length * self.dim) for a in self.attending)
        each += self.tokens * 2 * MLP_RATIO * self.dim**2
        return self.patches * self.patch_inputs * self.dim + self.depth * each + self.dim * self.classes

    @property
    def macs(self) -> int:
        """Products and norms, as `flops.macs` counts VideoMamba, without bias, activations, residual sums and softmax,
        although the scan's exponentials are counted there."""
        normed = self.tokens + sum(a.groups * a.length for a in self.attending)
        return self.products + NORM_OPERATIONS * self.dim * (self.depth * normed + self.tokens)

    def least_bytes(self, *, itemsize: int, materialised: bool) -> int:
        """A lower bound of the bytes of weights and one call, to skip what cannot fit.

        At the peak of a layer there are the residual stream and either q, k, v with, if materialised, twice the scores,
        or the hidden layer of the MLP before and after its activation.
        """
        weights = self.depth * (sum(a.products for a in self.attending) + 2 * MLP_RATIO) * self.dim**2
        peaks = [2 * MLP_RATIO * self.tokens * self.dim]
        for a in self.attending:
            scores = 2 * a.groups * self.heads * a.length**2 if materialised else 0
            peaks.append(3 * a.groups * a.length * self.dim + scores)
        return itemsize * (weights + self.tokens * self.dim + max(peaks))


def joint_timesformer_cost(*, frames: int, size: int, classes: int) -> Transformer:
    """That of `JointTimeSformer` with its defaults on clips of `size` pixels a side."""
    patches = frames * (size // PATCH_SIZE) ** 2
    return Transformer(
        patches=patches,
        patch_inputs=3 * PATCH_SIZE**2,
        tokens=1 + patches,
        dim=192,
        heads=3,
        depth=12,
        classes=classes,
        attending=(Attending(1, 1 + patches),),
    )
