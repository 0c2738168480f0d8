"""The contrastive loss of videos and texts over the samples of all processes, with exact gradients.

Every process computes the losses of its own samples against the samples of all. The features of the others are gathered; in
the backward pass each process receives, for its own features, the sum of the gradients of all. So after the average over the
processes a gradient is that of one process with all samples.

Shapes: n samples of this process, N of all, P vectors of a video, e width, k identities of a sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

_OUT = -1e9
"""The logit of a column that is left out: its probability is 0, and 0 times its logarithm is 0."""


@dataclass(frozen=True)
class Rows:
    """The samples of one forward pass in all processes: `sizes[r]` of them in process r; this is process `rank`."""

    sizes: tuple[int, ...] = (0,)
    rank: int = 0

    @property
    def own(self) -> slice:
        """The samples of this process among those of all."""
        start = sum(self.sizes[: self.rank])
        return slice(start, start + self.sizes[self.rank])

    def gather(self, tensor: Tensor, *, gradient: float = 1.0) -> Tensor:
        """(n, ...) of this process -> (N, ...) of all, by rank. Every process must call, forward and backward.

        The gradient of `tensor` is `gradient` times the sum over all processes. Raises ValueError for another n than
        `sizes` says.
        """
        if len(tensor) != self.sizes[self.rank]:
            raise ValueError(f"{len(tensor)} rows, not the {self.sizes[self.rank]} of this process")
        if len(self.sizes) == 1 or max(self.sizes) == 0:
            return tensor
        gathered: Tensor = _Gather.apply(tensor, self, gradient)  # type: ignore[no-untyped-call]
        return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rows: Rows, gradient: float) -> Tensor:
        ctx.rows, ctx.gradient = rows, gradient
        padded = tensor.new_zeros(max(rows.sizes), *tensor.shape[1:])  # a collective call needs equal shapes
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in rows.sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, rows.sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.rows.own] * ctx.gradient, None, None


def equal_ids(ids: Tensor, others: Tensor) -> Tensor:
    """(n, k) and (m, k) int64 -> (n, m) bool: whether any of the k identities is the same."""
    return (ids[:, None] == others[None]).any(dim=2)


def contrastive_losses(
    videos: Tensor,
    texts: Tensor,
    ids: Tensor,
    temperature: Tensor,
    rows: Rows | None = None,
    *,
    official_scale: bool = False,
) -> Tensor:
    """(n,) fp32: half the cross entropy of a video against all texts, and half that of its text against all videos.

    `videos` (n, P, e) and `texts` (n, e) have unit length; the similarity of a pair is the mean over P of the products,
    divided by `temperature`. `ids` (n, k) int64: samples that have one of them in common are right answers to each other,
    with equal shares. The mean over all N samples is the loss of ALBEF (arXiv 2107.07651) with hard labels. A sample whose
    features are not finite has no part in the losses of the others, so its own loss shows which sample it is.

    `rows` are the samples of all processes, by default those of this one alone; every process must call. With
    `official_scale` the gradients of the features are 1 / processes of the exact ones, as in the original; that of the
    temperature stays exact.
    """
    rows = rows or Rows((len(texts),))
    with torch.autocast(texts.device.type, enabled=False):
        features = torch.cat((videos.float().mean(dim=1), texts.float()), dim=1)
        every = rows.gather(features, gradient=1 / len(rows.sizes) if official_scale else 1.0)
        all_videos, all_texts = every.chunk(2, dim=1)
        same = equal_ids(ids, rows.gather(ids))
        others = ~torch.eye(len(every), dtype=torch.bool, device=every.device)[rows.own]
        left_out = ~torch.isfinite(every.detach()).all(dim=1) & others
        targets = (same & ~left_out).float()
        targets = targets / targets.sum(dim=1, keepdim=True)
        losses = [
            F.cross_entropy(
                (ours[rows.own] @ theirs.T / temperature).masked_fill(left_out, _OUT), targets, reduction="none"
            )
            for ours, theirs in ((all_videos, all_texts), (all_texts, all_videos))
        ]
    return (losses[0] + losses[1]) / 2


def hard_negatives(logits: Tensor, allowed: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """For each of n rows one column, drawn with the probability softmax(logits) among the allowed ones.

    `logits` (n, m) of any floating dtype, `allowed` (n, m) bool, `uniform` (n,) float64 in [0, 1), the random numbers. Returns
    the columns (n,) int64 and whether there was one, (n,) bool; a row without an allowed column has any. However large the
    logits are, a row with an allowed column has one: the largest of those has weight 1.
    """
    weights = logits.detach().double().masked_fill(~allowed, -torch.inf)
    highest = weights.amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).min)
    weights = (weights - highest).exp()
    cumulative = weights.cumsum(dim=1)
    drawn = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(dim=1)
    last = weights.shape[1] - 1 - (weights > 0).flip(1).byte().argmax(dim=1)  # for a sum that is rounded up
    return torch.minimum(drawn, last), allowed.any(dim=1)


def sample_ids(media: Sequence[int], texts: Sequence[str]) -> Tensor:
    """(n, 2) int64, the identities of samples: their medium, and their text; equal texts have equal numbers."""
    return torch.tensor(
        [[one, _number(text)] for one, text in zip(media, texts, strict=True)], dtype=torch.int64
    ).reshape(-1, 2)


def _number(text: str) -> int:
    """63 bits of a digest: the same in every process, unlike `hash`."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
