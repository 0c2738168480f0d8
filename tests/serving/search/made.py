"""A folder of tiny videos, and a tiny video-text model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videomamba.data.text.tokenizer import Tokenizer
from videomamba.models.registry import build_config
from videomamba.models.text import TextConfig
from videomamba.models.video_text import VideoText, VideoTextConfig
from videomamba.schema import Preprocess
from videomamba.serving.search.table import WindowTable
from videomamba.synthetic.dataset import caption, render_clip
from videomamba.video.encode import write_video
from videomamba.weights.video_text import save_video_text


def write_clip(path: Path, seed: int, frames: int = 12) -> None:
    """A video of `frames` frames at 8 fps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, render_clip(seed % 16, seed, num_frames=frames, height=64, width=80), fps=8)


def write_folder(folder: Path, number: int = 8) -> Path:
    """`number` videos in two folders, the last of them twice as long, and a file that only claims to be one."""
    for i in range(number):
        write_clip(folder / ("even" if i % 2 == 0 else "odd") / f"clip{i}.mp4", i, 24 if i == number - 1 else 12)
    (folder / "broken.mp4").write_text("not a video")
    return folder


def write_text_model(path: Path) -> Path:
    """Random weights: 4 frames of 32x48, clips of a second, vectors of width 8."""
    torch.manual_seed(0)
    shape = {"depth": 2, "dim": 32, "num_frames": 4, "image_size": (32, 48), "num_classes": 0}
    video = build_config("videomamba_micro", shape)
    tokenizer = Tokenizer.learn([caption(action, 0) for action in range(16)], 120)
    text = TextConfig(vocab_size=len(tokenizer), dim=16, depth=2, heads=2, hidden_dim=32, fusion_from=1)
    model = VideoText(VideoTextConfig(video=video, text=text, embed_dim=8)).eval()
    preprocess = Preprocess(num_frames=4, image_size=(32, 48), clip_seconds=1.0)
    return save_video_text(path, model, preprocess=preprocess, tokenizer=tokenizer)


def contents(index: Path) -> list[tuple[Any, ...]]:
    """All rows of an index but for the times of the files, sorted; the vectors as bytes."""
    table = WindowTable.open(str(index))
    assert table is not None
    rows = table._table.to_arrow().drop_columns(["mtime"]).to_pylist()
    for row in rows:
        row["vector"] = None if row["vector"] is None else np.array(row["vector"], np.float32).tobytes()
    return sorted((tuple(row.values()) for row in rows), key=lambda row: (row[0], row[1]))


def settings_of(index: Path) -> dict[str, Any]:
    table = WindowTable.open(str(index))
    assert table is not None
    return dict(json.loads(table.settings))
