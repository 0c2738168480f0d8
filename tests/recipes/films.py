"""Small data sets of long videos: real H.264 films in the layout of LVU, Breakfast and COIN.

A film has the colour of its class, or one after another those of its scenes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from videomamba.data.sets.formats.breakfast_coin import BREAKFAST_ACTIONS
from videomamba.data.sets.formats.lvu import NUM_CLASSES
from videomamba.synthetic.dataset import render_clip
from videomamba.video.encode import write_video

COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}
Scenes = tuple[tuple[str, float], ...]
"""Seconds of each colour, one after another."""


def write_film(path: Path, scenes: Scenes, *, fps: int) -> float:
    """A film of moving shapes in the colours of its scenes; how many seconds it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tints = [COLOURS[colour] for colour, seconds in scenes for _ in range(round(seconds * fps))]
    seed = sum(path.name.encode())
    frames = render_clip(seed % 16, seed, num_frames=len(tints), height=64, width=80).astype(np.float32)
    tinted = 0.2 * frames + 0.8 * np.array(tints, dtype=np.float32)[:, None, None]
    write_video(path, tinted.astype(np.uint8), fps=fps)
    return len(tints) / fps


def write_list(file: Path, header: str, *lines: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in (header, *lines)))


LVU_FILMS: dict[str, dict[str, Scenes]] = {
    "train": {
        "-yx9JK_HeQc": (("red", 40),),
        "0quEnseH0zo": (("green", 48),),
        "_3F3eCypuko": (("blue", 60),),
        "87IqS4kQqgE": (("red", 80),),
    },
    "val": {"MmF4DJXJRkc": (("red", 40),)},
    "test": {
        "5sSlMe1iN2g": (("green", 40),),
        "kVtyXNS_bJo": (("blue", 64),),
        # Of its windows, which begin at 0, 16, 32, 48 and 64 s, the first is red for the most part, the others green.
        "Zx-1c1fPk2M": (("red", 38), ("green", 62)),
    },
}
LVU_WINDOWS = {"5sSlMe1iN2g": [(0, 40)], "kVtyXNS_bJo": [(0, 60), (16, 64), (32, 64)]}
LVU_WINDOWS["Zx-1c1fPk2M"] = [(0, 60), (16, 76), (32, 92), (48, 100), (64, 100)]
VIEWS = {"5sSlMe1iN2g": 1004143, "kVtyXNS_bJo": 3526, "Zx-1c1fPk2M": 87}
LIKES = {"5sSlMe1iN2g": (100410, 3572), "kVtyXNS_bJo": (12, 30), "Zx-1c1fPk2M": (801, 2)}
TARGETS = {
    "view_count": {name: math.log(views) - 11.76425435683139 for name, views in VIEWS.items()},
    "like_ratio": {name: 10 * up / (up + down) - 9.138220535629456 for name, (up, down) in LIKES.items()},
}


def write_lvu(root: Path) -> Path:
    """All nine tasks on the same films. The class is that of the first colour."""
    durations = []
    for split, films in LVU_FILMS.items():
        for name, scenes in films.items():
            durations.append(f"{name},{write_film(root / 'mc_videos' / f'{name}.mp4', scenes, fps=2):.0f}")
        for task, classes in NUM_CLASSES.items():
            index = {"red": 0, "green": 1, "blue": classes - 1}
            lines = [f"{index[scenes[0][0]]} {scenes[0][0]} {name} tt0343121" for name, scenes in films.items()]
            header = "class_id class_name youtube_id imdb_id"
            write_list(root / "lvu_1.0" / task / f"{split}.csv", header, *lines)
        likes = [f"{up} {down} {name} tt0343121" for name in films for up, down in [LIKES.get(name, (50, 5))]]
        header = "like_count dislike_count youtube_id imdb_id"
        write_list(root / "lvu_1.0" / "like_ratio" / f"{split}.csv", header, *likes)
        views = [f"{VIEWS.get(name, 1000)} {name} tt0343121" for name in films]
        write_list(root / "lvu_1.0" / "view_count" / f"{split}.csv", "view_count youtube_id imdb_id", *views)
    write_list(root / "lvu_1.0" / "lvu_durations.csv", "videoid,duration", *durations)
    return root


def write_breakfast(root: Path) -> Path:
    """In the test two cameras have a file of one name, and one of them is of another colour than its class."""
    films = {
        "train": {
            "P03-cam01-P03_cereals": "red",
            "P04-webcam02-P04_tea": "green",
            "P05-stereo-P05_salat_ch0": "blue",
            "P06-cam01-P06_tea": "green",
        },
        "test": {
            "P47-cam01-P47_cereals": "red",
            "P47-cam02-P47_cereals": "blue",
            "P48-cam01-P48_tea": "green",
            "P49-webcam01-P49_salat": "blue",
        },
    }
    for split, of_split in films.items():
        lines = []
        for i, (name, colour) in enumerate(of_split.items()):
            path = root / "BreakfastII_15fps_qvga_sync" / f"{name.replace('-', '/', 2)}.avi"
            seconds = write_film(path, ((colour, 5 + i),), fps=15)
            action = name.split("_")[1]
            lines.append(f"{name},{seconds:.0f},{action},{BREAKFAST_ACTIONS.index(action)}")
        write_list(root / f"{split}.csv", "file_name,duration,action,class_id", *lines)
    return root


def write_coin(root: Path) -> Path:
    """All 180 classes have their place; three have videos."""
    database = {}
    for kind, name, colour in ((0, "ArcWeld", "red"), (57, "MakeCoffee", "green"), (179, "WrapZongzi", "blue")):
        for i, subset in enumerate(("training", "training", "testing")):
            video = f"-{kind}_{i}"
            seconds = write_film(root / "videos" / str(kind) / f"{video}.mp4", ((colour, 8 + i),), fps=8)
            step = {"id": "212", "segment": [1.0, 3.0], "label": "take it out"}
            facts = {"recipe_type": kind, "class": name, "subset": subset, "duration": seconds, "annotation": [step]}
            database[video] = {**facts, "video_url": "https://www.youtube.com/embed/x", "start": 1.0, "end": 7.0}
    (root / "COIN.json").write_text(json.dumps({"database": database}))
    return root
