"""Something-Something V2, as videos or as folders of frames: its own JSON files, and the lists of the original.

Videos are never mirrored, as in the published recipes, although three pairs of classes only swap left and right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from videomamba.data.sets.formats.classes import numbered_class
from videomamba.data.sets.formats.entry import Entry, Source, Split
from videomamba.data.sets.formats.file_index import FileIndex
from videomamba.data.sets.formats.folder import the_root
from videomamba.data.sets.formats.lists import PATH_LABEL, find_lists, labels_beside, read_list, shown
from videomamba.data.sets.formats.table import read_json
from videomamba.data.settings import DataSettings
from videomamba.schema import Symmetries, VideoMambaError

NUM_CLASSES = 174

_FOLDERS = ("", "labels", "annotations")
_PREFIXES = ("something-something-v2-", "")
_VIDEO_FOLDERS = ("", "20bn-something-something-v2/", "videos/", "frames/")
_FRAME_COLUMNS: Mapping[int, Sequence[str]] = {3: ("path", "num_frames", "label")}


def find_ssv2(settings: DataSettings, *, frames: bool = False) -> Source:
    """something-something-v2-train.json, -validation.json and labels.json in root, root/labels or root/annotations.

    (The newer release has no long prefix.) The videos are <id>.webm or another video suffix, in root,
    root/20bn-something-something-v2 or root/videos; with `frames` folders <id> of images there or in root/frames. The
    lists of the original: `path label`, or `folder total_frames label` with `frames`. The test set is the validation set,
    as usual, because the labels of the real test set are not public.
    """
    root = the_root(settings)
    labels = _official(root, "labels.json")
    names: dict[Split, str] = {"train": "train.json", "val": "validation.json"}
    official = {split: file for split, name in names.items() if (file := _official(root, name))}
    parts: dict[Split, Callable[[], Sequence[Entry]]] = {}
    for split, file in (official | find_lists(settings, _FOLDERS)).items():
        if file.suffix.lower() == ".json":
            parts[split] = cache(partial(_read_json, file, settings, frames=frames))
        else:
            parts[split] = cache(partial(read_list, file, settings, plain=_FRAME_COLUMNS if frames else PATH_LABEL))
    if not parts:
        raise VideoMambaError(
            f"{root}: no Something-Something here; looked for something-something-v2-train.json, train.json and train.csv, "
            "also in labels and annotations"
        )
    own = cache(partial(_read_labels, labels)) if labels else labels_beside(root)
    return Source(
        parts, labels=own or (lambda: [numbered_class(i) for i in range(NUM_CLASSES)]), symmetries=Symmetries()
    )


def _official(root: Path, name: str) -> Path | None:
    places = (root / folder / f"{prefix}{name}" for folder in _FOLDERS for prefix in _PREFIXES)
    return next((place for place in places if place.is_file()), None)


def _read_labels(file: Path) -> Sequence[str]:
    """{"template": "index", ...} as names in index order."""
    table = read_json(file)
    try:
        names = {int(index): str(template) for template, index in table.items()}
    except (AttributeError, TypeError, ValueError):
        raise VideoMambaError(f'{file}: is not a table {{"template": "index", ...}}; copy it again') from None
    if not names or sorted(names) != list(range(len(table))):
        raise VideoMambaError(f"{file}: its indices do not count from 0, each once; copy it again")
    return [names[i] for i in range(len(names))]


def _read_json(file: Path, settings: DataSettings, *, frames: bool) -> list[Entry]:
    root = the_root(settings)
    name = shown(file, settings.root)
    table = read_json(file)
    if not isinstance(table, list) or not table:
        raise VideoMambaError(f"{name}: is not a list of videos; copy it again")
    videos = list(_videos(table, name))
    locate = _frame_folders(root, videos[0][0]) if frames else _video_files(root)
    return [Entry(locate(video), label=label, origin=origin) for video, label, origin in videos]


def _videos(table: Sequence[Any], name: str) -> Iterator[tuple[str, str, str]]:
    """(id, class name, origin); a class is named by the template without its brackets."""
    for place, video in enumerate(table, start=1):
        origin = f"{name}, entry {place}"
        if not isinstance(video, dict) or not {"id", "template"} <= set(video):
            raise VideoMambaError(f"{origin}: needs id and template, as the training and validation files have; fix it")
        yield str(video["id"]), str(video["template"]).replace("[", "").replace("]", ""), origin


def _video_files(root: Path) -> Callable[[str], str]:
    videos = FileIndex(root, depth=1)
    return lambda video: videos.find(f"{folder}{video}" for folder in _VIDEO_FOLDERS)


def _frame_folders(root: Path, example: str) -> Callable[[str], str]:
    """The place of the folders of frames, found with one video; listing 220 847 folders is slow."""
    folder = next((f for f in reversed(_VIDEO_FOLDERS) if (root / f / example).is_dir()), "")
    return lambda video: f"{root}/{folder}{video}"
