"""From the views of records to one row of scores a record, over as many processes as there are.

A block of views always goes through the network in the same parts, whichever process has it, so the scores do not depend on
the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from videomamba.schema import Views

VIEWS_AT_ONCE = 16
"""Views in one forward pass: bounds the memory of many views without starving a GPU."""


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
    """Row i of `scores` (k, c) is that of record `records[i]`; `failures` are (record, reason) of all the others."""

    records: tuple[int, ...]
    scores: Tensor
    failures: tuple[tuple[int, str], ...]

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """What several processes have found, as one."""
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
    """The scores of all records in `batches`: the mean over views of the softmax, of the output itself in regression.

    `network` gives (n, outputs) for (n, 3, t, h, w).
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

    A confident view so counts more than in a mean of logits; this is how the published numbers were made.
    Raises ValueError for another shape or no views.
    """
    if logits.ndim != 2 or len(logits) == 0:
        raise ValueError(f"logits must be (views, classes) with at least one view, got {tuple(logits.shape)}")
    return logits.float().softmax(dim=1).mean(dim=0)
