"""Testing a video on several views, and one answer from all of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from videomamba.schema import VideoMambaError


@dataclass(frozen=True)
class Views:
    """The views of a test: `clips` in time by `crops` in space. Printed and parsed as clips x crops: "4x3"."""

    clips: int = 1
    crops: int = 1

    def __post_init__(self) -> None:
        if self.clips < 1 or self.crops < 1:
            raise ValueError(f"views need at least 1 clip and 1 crop, got {self.clips}x{self.crops}")

    def __len__(self) -> int:
        return self.clips * self.crops

    def __str__(self) -> str:
        return f"{self.clips}x{self.crops}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "4x3" as 4 clips x 3 crops. Raises VideoMambaError for anything else."""
        found = re.fullmatch(r"\s*([1-9][0-9]*)\s*x\s*([1-9][0-9]*)\s*", text, re.IGNORECASE | re.ASCII)
        if found is None:
            raise VideoMambaError(f"views {text!r}: write clips x crops as two whole numbers, for example 4x3 or 1x1")
        return cls(int(found[1]), int(found[2]))


def merge_views(logits: Tensor) -> Tensor:
    """(v, classes) logits of v views -> (classes,) float32 probabilities: softmax of each view, then the mean.

    A confident view so counts more than in a mean of logits; this is how the published numbers were made.
    Raises ValueError for another shape or no views.
    """
    if logits.ndim != 2 or len(logits) == 0:
        raise ValueError(f"logits must be (views, classes) with at least one view, got {tuple(logits.shape)}")
    return logits.float().softmax(dim=1).mean(dim=0)
