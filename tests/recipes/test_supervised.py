"""A run with its evaluation: what it says besides its result."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.recipes.runs import CLASSES, tiny
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import DataSettings
from videomamba.recipes.supervised import train_and_evaluate


def test_failed_and_ignored_videos_are_named(videos: Path, tmp_path: Path) -> None:
    root, lines = shutil.copytree(videos, tmp_path / "videos"), list[str]()
    train, val = (read_dataset(DataSettings(root=root), split).records for split in ("train", "val"))
    Path(train[0].path).write_text("not a video")
    Path(val[0].path).unlink()
    Path(val[0].path).symlink_to("/nowhere.mp4")
    (root / CLASSES[0] / "clip.mpv").touch()
    config = tiny(root, tmp_path / "out", data={"on_error": "skip"}, eval={"weights": "last"})
    measured = train_and_evaluate(config, notify=lines.append)
    assert [line.partition(": ")[0] for line in lines] == [
        f"ignored {root / CLASSES[0] / 'clip.mpv'}",
        f"skipped {train[0].path}",
        f"missed {val[0].path}",
    ]
    lines.clear()
    assert str(train_and_evaluate(config, notify=lines.append).result) == str(measured.result)
    assert lines[1].startswith(
        f"{tmp_path / 'out'}: finished before, at step 6, with 12 videos of 3 classes; nothing is"
    )
