"""Breakfast and COIN: their own files, and the lists of the original."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from videomamba.data.sets.formats.classes import numbered_class
from videomamba.data.sets.formats.entry import Entry, Source, Split
from videomamba.data.sets.formats.file_index import FileIndex
from videomamba.data.sets.formats.folder import the_root
from videomamba.data.sets.formats.lists import PATH_LABEL_DURATION, find_lists, labels_beside, read_list
from videomamba.data.sets.formats.table import read_json
from videomamba.data.settings import DataSettings
from videomamba.schema import VideoMambaError

BREAKFAST_ACTIONS = (
    *("cereals", "coffee", "tea", "pancake", "friedegg"),
    *("scrambledegg", "sandwich", "juice", "milk", "salat"),
)

_COIN_SPLITS: dict[str, Split] = {"training": "train", "testing": "test", "validation": "test"}


def find_breakfast(settings: DataSettings) -> Source:
    """train.csv and test.csv with `file_name,duration,action,class_id`, file_name as in P47-cam01-P47_cereals.

    The videos are P47/cam01/P47_cereals.<video suffix> in root, a folder in it, or below that, as distributed; or named
    file_name itself. Without header, as in the original: `path,label` or `path,label,duration`. Without a validation list
    the test list is used, as published. Source of the lists: ViS4mer (arXiv 2204.01692).
    """
    root = the_root(settings)
    lists = find_lists(settings)
    if not lists:
        raise VideoMambaError(f"{root}: no Breakfast here; looked for train.csv; name it with data.train")
    videos = cache(partial(FileIndex, root, depth=3))
    roots = cache(lambda: ["", *(f"{path.name}/" for path in sorted(root.iterdir()) if path.is_dir())])

    def locate(name: str) -> str:
        if Path(name).suffix:
            return str(root / name)
        person_camera_file = "/".join(name.split("-", 2))
        return videos().find(f"{below}{path}" for path in (person_camera_file, name) for below in roots())

    return _published(
        {s: cache(partial(read_list, f, settings, plain=PATH_LABEL_DURATION, locate=locate)) for s, f in lists.items()},
        lambda: BREAKFAST_ACTIONS,
    )


def find_coin(settings: DataSettings) -> Source:
    """COIN.json in root or root/annotations: class `recipe_type`, named `class`; `subset` training or testing.

    The videos are <recipe_type>/<id>.mp4 (or another video suffix), as from COIN's own script, or <id>.mp4, in root or
    root/videos. Or lists without header, as in the original: `path,label` or `path,label,duration`. Without a validation
    list the test list is used, as published.
    """
    root = the_root(settings)
    lists = find_lists(settings)
    official = next((f for f in (root / "COIN.json", root / "annotations" / "COIN.json") if f.is_file()), None)
    labels = cache(partial(_coin_labels, official)) if official else labels_beside(root)
    if lists:
        return _published(
            {s: cache(partial(read_list, f, settings, plain=PATH_LABEL_DURATION)) for s, f in lists.items()}, labels
        )
    if official is None:
        raise VideoMambaError(f"{root}: no COIN here; looked for COIN.json, also in annotations, and for train.csv")
    videos = cache(partial(FileIndex, root, depth=2))
    splits: tuple[Split, Split] = ("train", "test")
    return _published({s: cache(partial(_coin, official, s, videos)) for s in splits}, labels)


def _published(parts: dict[Split, Callable[[], Sequence[Entry]]], labels: Callable[[], Sequence[str]] | None) -> Source:
    if "test" in parts:
        parts.setdefault("val", parts["test"])
    return Source(parts, labels=labels, nameless_mirror=True)


def _coin(file: Path, split: Split, videos: Callable[[], FileIndex]) -> list[Entry]:
    entries = []
    for video, facts in _coin_database(file).items():
        origin = f"{file.name}, {video}"
        subset, kind = str(facts.get("subset")), str(facts["recipe_type"])
        if subset not in _COIN_SPLITS:
            raise VideoMambaError(f"{origin}: subset is {subset!r}, not training or testing; fix it")
        if _COIN_SPLITS[subset] == split:
            places = (f"{below}{path}" for path in (f"{kind}/{video}", video) for below in ("", "videos/"))
            seconds = facts.get("duration")
            duration = float(seconds) if isinstance(seconds, int | float) and 0 < seconds < math.inf else None
            entries.append(Entry(videos().find(places), label=kind, duration=duration, origin=origin))
    if not entries:
        raise VideoMambaError(f"{file}: holds no videos for {split}; copy it again")
    return entries


def _coin_labels(file: Path) -> Sequence[str]:
    names: dict[int, str] = {}
    for video, facts in _coin_database(file).items():
        name = names.setdefault(facts["recipe_type"], facts["class"])
        if name != facts["class"]:
            raise VideoMambaError(f"{file.name}, {video}: recipe_type {facts['recipe_type']} is also {name}; fix it")
    return [names.get(i, numbered_class(i)) for i in range(max(names) + 1)]


def _coin_database(file: Path) -> dict[str, dict[str, Any]]:
    content = read_json(file)
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict) or not database:
        raise VideoMambaError(f"{file}: has no table 'database' of videos; copy it again")
    for video, facts in database.items():
        if not isinstance(facts, dict) or not isinstance(facts.get("recipe_type"), int) or facts["recipe_type"] < 0:
            raise VideoMambaError(f"{file.name}, {video}: has no recipe_type, the index of its class; fix it")
        if not isinstance(facts.get("class"), str):
            raise VideoMambaError(f"{file.name}, {video}: has no class, the name of its recipe_type; fix it")
    return database
