"""The data that the packaged network is trained on: synthetic actions as files, with seeds that no split shares."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.dataset import write_dataset

SPLITS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "train": (
        {"clips_per_class": 150, "seed": 1000, "num_frames": 32, "fps": 16, "height": 128, "width": 160, "crf": 23},
        {"clips_per_class": 150, "seed": 1001, "num_frames": 24, "fps": 12, "height": 144, "width": 192, "crf": 33},
    ),
    "val": (
        {"clips_per_class": 10, "seed": 2000, "num_frames": 32, "fps": 16, "height": 128, "width": 160, "crf": 23},
        {"clips_per_class": 10, "seed": 2001, "num_frames": 24, "fps": 12, "height": 144, "width": 192, "crf": 33},
    ),
    "test": (
        {"clips_per_class": 25, "seed": 3000, "num_frames": 48, "fps": 24, "height": 240, "width": 320, "crf": 30},
    ),
}
"""Arguments of `write_dataset` for each folder of each split; only the test split has its size and quality."""


def write_splits(root: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Writes the missing files of root/<split>/<i>, a folder for each entry of SPLITS: about 60 MB.

    The same call resumes. Raises VideoMambaError when the folders have other content or cannot be written.
    """
    total = sum(len(ACTIONS) * part["clips_per_class"] for parts in SPLITS.values() for part in parts)
    before = 0
    for split, parts in SPLITS.items():
        for i, part in enumerate(parts):
            write_dataset(
                root / split / str(i),
                **part,
                workers=os.cpu_count() or 1,
                progress=None if progress is None else partial(_add, progress, before, total),
            )
            before += len(ACTIONS) * part["clips_per_class"]


def _add(progress: Callable[[int, int], None], before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)
