"""From the views of records to one row of scores per record, over any number of processes.

A block of views always passes through the network in the same parts, in any process, so the scores do not depend on the
number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from videomamba.schema import Views

VIEWS_AT_ONCE = 16
"""Views in one forward pass: limits the memory but keeps a GPU busy."""


class ViewBatch(Protocol):
    """`video` (r * views, 3, t, h, w), the views of r records one after another; `failures` are (record, reason)."""

    @property
    def video(self) -> Tensor: ...
    @property
    def records(self) -> tuple[int, ...]: ...
    @property
    def failures(self) -> tuple[tuple[int, str], ...]: ...


@dataclass(frozen=True)
class Scores:
    """Row i of `scores` (k, c) is for record `records[i]`; `failures` are (record, reason) of all others."""

    records: tuple[int, ...]
    scores: Tensor
    failures: tuple[tuple[int, str], ...]

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """The scores of several processes as one."""
        return cls(
            tuple(record for part in parts for record in part.records),
            torch.cat([part.scores for part in parts]),
            tuple(failure for part in parts for failure in part.failures),
        )


@torch.inference_mode()
def score_records(
    network: Callable[[Tensor], Tensor],
    batches: Iterable[ViewBatch],
    *,
    views: Views,
    outputs: int,
    device: torch.device,
    regression: bool = False,
) -> Scores:
    """The scores of all records in `batches`: the mean over views of the softmax, in regression of the output itself.

    `network` maps (n, 3, t, h, w) to (n, outputs).
    """
    records: list[int] = []
    rows: list[Tensor] = [torch.empty(0, outputs)]
    failures: list[tuple[int, str]] = []
    for batch in batches:
        failures += batch.failures
        starts = range(0, len(batch.video), VIEWS_AT_ONCE)
        parts = [network(batch.video[i : i + VIEWS_AT_ONCE].to(device)).float().cpu() for i in starts]
        if parts:
            answers = torch.cat(parts).view(len(batch.records), len(views), outputs)
            rows += [(of_record.mean(dim=0) if regression else merge_views(of_record))[None] for of_record in answers]
            records += batch.records
    return Scores(tuple(records), torch.cat(rows), tuple(failures))


def merge_views(logits: Tensor) -> Tensor:
    """(v, classes) logits of v views -> (classes,) float32 probabilities: softmax of each view, then the mean.

    The published numbers use this mean of probabilities, not a mean of logits.
    Raises ValueError for another shape or no views.
    """
    if logits.ndim != 2 or len(logits) == 0:
        raise ValueError(f"logits must be (views, classes) with at least one view, got {tuple(logits.shape)}")
    return logits.float().softmax(dim=1).mean(dim=0)
