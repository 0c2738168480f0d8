"""Where the lists of a data set of videos with texts are, and where the files are that they name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import get_args

from videomamba.data.sets.formats.entry import Split
from videomamba.data.sets.formats.file_index import FileIndex, folders_in
from videomamba.data.sets.formats.folder import the_root
from videomamba.data.sets.formats.lists import SPLIT_NAMES
from videomamba.data.sets.formats.text_lists import TEXT_SUFFIXES
from videomamba.data.settings import TextDataSettings, TextFormat, TextTask
from videomamba.schema import VideoMambaError
from videomamba.video.open import IMAGE_SUFFIXES, VIDEO_SUFFIXES, natural_order
from videomamba.video.shards import SHARD_SUFFIX, expand_shards

_SPLITS: tuple[Split, ...] = get_args(Split)
_MEDIA_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES


@dataclass(frozen=True)
class TextList:
    """A list or a shard. `base` is the folder to which its paths are relative; `only` a list of the ids that count."""

    file: Path
    base: Path
    only: Path | None = None

    @property
    def is_shard(self) -> bool:
        return self.file.suffix.lower() == SHARD_SUFFIX


@dataclass(frozen=True)
class Layout:
    """A published data set: names of lists for each task and split, best first, and of folders of videos.

    "captions|ids" is a list of captions of which the second file names the videos of the split. A name in `official` holds
    several splits: it serves "val" only if it also serves "train".
    """

    lists: Mapping[TextTask, Mapping[Split, Sequence[str]]]
    folders: Sequence[str] = ()
    official: frozenset[str] = frozenset()


def _each(*names: str) -> dict[Split, tuple[str, ...]]:
    return {split: tuple(name.replace("@", split) for name in names) for split in _SPLITS}


_MSRVTT = frozenset({"train_val_videodatainfo.json", "MSRVTT_data.json", "msrvtt_data.json"})

LAYOUTS: Mapping[TextFormat, Layout] = {
    "captions": Layout({}),
    "msrvtt": Layout(
        {
            "captions": {
                "train": (
                    *("msrvtt_ret_train9k.json", "msrvtt_ret_train7k.json", "msrvtt_ret_train.json"),
                    *("MSRVTT_data.json|MSRVTT_train.9k.csv", "MSRVTT_data.json|MSRVTT_train.7k.csv"),
                    *("train_val_videodatainfo.json", "MSRVTT_data.json"),
                ),
                "val": ("msrvtt_ret_val.json", "train_val_videodatainfo.json", "MSRVTT_data.json"),
                "test": (
                    *("msrvtt_ret_test1k.json", "MSRVTT_JSFUSION_test.csv", "msrvtt_ret_test.json"),
                    *("test_videodatainfo.json", "MSRVTT_data.json"),
                ),
            },
            "questions": _each("msrvtt_qa_@.json", "msrvtt_qa_@.csv", "@_qa.json"),
            "choices": {"test": ("msrvtt_mc_test.json", "msrvtt_mc.json")},
        },
        ("videos", "videos/all", "all", "video", "TrainValVideo", "TestVideo", "train-video", "test-video"),
        _MSRVTT,
    ),
    "didemo": Layout(
        {"captions": _each("didemo_ret_@.json", "@_data.json")}, ("videos", "video", "train", "val", "test")
    ),
    "activitynet": Layout(
        {
            "captions": {
                "train": ("anet_ret_train.json", "train.json"),
                "val": ("anet_ret_val_1.json", "anet_ret_val.json", "val_1.json"),
                "test": ("anet_ret_test.json",),
            },
            "questions": _each("anet_qa_@.json"),
        },
        ("videos", "train", "val", "train_val", "test", "v1-2/train", "v1-2/val"),
    ),
    "lsmdc": Layout(
        {
            "captions": {
                "train": ("lsmdc_ret_train.json", "LSMDC16_annos_training.csv"),
                "val": ("lsmdc_ret_val.json", "LSMDC16_annos_val.csv"),
                "test": ("lsmdc_ret_test_1000.json", "lsmdc_ret_test.json", "LSMDC16_challenge_1000_publictect.csv"),
            },
            "choices": {"test": ("lsmdc_mc_test.json",)},
        },
        ("videos", "avi", "clips"),
    ),
    "msvd": Layout(
        {
            "captions": _each("msvd_ret_@.json", "AllVideoDescriptions.txt|@_list.txt", "msvd_@.txt"),
            "questions": _each("msvd_qa_@.json"),
        },
        ("videos", "YouTubeClips"),
    ),
}
_LIST_FOLDERS = ("", "annotations", "annotation", "anno", "lists")


def text_lists(settings: TextDataSettings, task: TextTask) -> dict[Split, list[TextList]]:
    """The lists and shards of each split: those of the settings; if there are none, those found in the root.

    In a published data set the settings replace its lists split by split.

    Raises VideoMambaError, one line, for a list that is missing, or where nothing is found.
    """
    root = settings.root
    if root is not None:
        the_root(settings)
    layout = LAYOUTS["captions" if settings.format == "auto" else _text_format(settings)]
    given: dict[Split, Path] = {s: path for s in _SPLITS if (path := getattr(settings, s)) is not None}
    found = dict[Split, list[TextList]]()
    if root is not None and layout.lists:
        found = _known(root, layout, task)
    elif root is not None and not given:
        found = _found(root, task)
    for split, path in given.items():
        found[split] = _given(path, f"data.{split}", root)
    if settings.also:
        found["train"] = [
            *found.get("train", ()),
            *(one for path in settings.also for one in _given(path, "data.also", root)),
        ]
    if found:
        return found
    if root is None:
        raise VideoMambaError(
            "data.root: no data set is given; give its folder as data.root or its lists as data.train"
        )
    names = [name for names in layout.lists.get(task, {}).values() for name in names] or [
        f"{{train,val,test,{task}}}{{{','.join((*TEXT_SUFFIXES, SHARD_SUFFIX))}}}"
    ]
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    raise VideoMambaError(
        f"{root}: no list of {task} here; looked for {shown}; name yours with data.train or data.test"
    )


def has_texts(settings: TextDataSettings) -> bool:
    """Whether settings without a format name a data set with texts: by the endings of its lists, else by its files."""
    given = [*(path for s in _SPLITS if (path := getattr(settings, s)) is not None), *settings.also]
    if given:
        return any(path.suffix.lower() in (".json", ".db", ".sqlite", ".sqlite3", SHARD_SUFFIX) for path in given)
    root = settings.root
    if root is None or not root.is_dir() or any(root.glob("*.csv")) or any(root.glob("*/synthetic.json")):
        return False
    lists = [one for task in get_args(TextTask) for part in _found(root, task).values() for one in part]
    if folders_in(root):
        lists = [
            one for one in lists if not (one.is_shard and one.base == root)
        ]  # an archive beside folders of classes
    return any(one.file.suffix.lower() not in (".csv", ".tsv", ".txt", ".jsonl") for one in lists)


def locator(one: TextList, settings: TextDataSettings) -> Callable[[str], str]:
    """The complete path of a name in a list: below its base; a name without an ending gets that of the file that exists.

    In published data sets the videos may be in folders of their own, and may have another ending than the list says.
    """
    if settings.format not in ("auto", "captions"):
        return partial(_in_layout, str(one.base), cache(partial(FileIndex, one.base, depth=2)), _text_format(settings))
    return partial(_below, str(one.base), cache(partial(FileIndex, one.base, depth=2)))


def _text_format(settings: TextDataSettings) -> TextFormat:
    for name in get_args(TextFormat):
        if name == settings.format:
            found: TextFormat = name
            return found
    known = ", ".join(("auto", *get_args(TextFormat)))
    raise VideoMambaError(f"data.format {settings.format}: has classes, not texts; give one of {known}")


def _below(base: str, videos: Callable[[], FileIndex], name: str) -> str:
    path = os.path.join(base, name)  # noqa: PTH118 strings: a Path for each of millions takes long
    if os.path.splitext(name)[1].lower() in _MEDIA_SUFFIXES or os.path.isdir(path):  # noqa: PTH112, PTH122
        return path
    return videos().find([name, f"videos/{name}", f"video/{name}", f"clips/{name}"])


def _in_layout(base: str, videos: Callable[[], FileIndex], kind: TextFormat, name: str) -> str:
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    if ending.lower() not in _MEDIA_SUFFIXES:
        stem, ending = name, ""
    if kind == "msrvtt" and stem.isdecimal():
        stem = f"video{stem}"  # its questions have numbers
    films = [stem]
    if kind == "lsmdc":
        films.append(f"{stem.rpartition('_')[0]}/{stem}")  # a folder for each film
    found = videos().find(
        f"{folder}{film}" for folder in ("", *(f"{f}/" for f in LAYOUTS[kind].folders)) for film in films
    )
    missing = found == os.path.join(base, f"{stem}.mp4")  # noqa: PTH118
    return os.path.join(base, f"{stem}{ending}") if missing and ending else found  # noqa: PTH118


def _given(path: Path, option: str, root: Path | None) -> list[TextList]:
    """The list, the shard, the shards of a pattern or a folder, each relative to the working folder or to the root."""
    lists = []
    for name in expand_shards(str(path)) if path.suffix.lower() == SHARD_SUFFIX else [str(path)]:
        places = [Path(name)] if root is None else [Path(name), root / name]
        place = next((p for p in places if p.is_file() or _shards_of(p)), None)
        if place is None:
            raise VideoMambaError(
                f"{option} {name}: no such file, neither here nor in {root or 'a root'}; check the name"
            )
        files = [place] if place.is_file() else _shards_of(place)
        lists += [TextList(file, root if root is not None else file.parent) for file in files]
    return lists


def _shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SHARD_SUFFIX}"), key=natural_order) if folder.is_dir() else []


def _known(root: Path, layout: Layout, task: TextTask) -> dict[Split, list[TextList]]:
    found: dict[Split, list[TextList]] = {}
    for split in _SPLITS:
        for name in layout.lists.get(task, {}).get(split, ()):
            one = next(_pairs(root, name), None)
            if one is None:
                continue
            if split == "val" and name in layout.official and found.get("train") != [one]:
                continue  # its validation videos are among those of another training list
            found[split] = [one]
            break
    return found


def _pairs(root: Path, name: str) -> Iterator[TextList]:
    captions, _, ids = name.partition("|")
    for folder in _LIST_FOLDERS:
        file, only = root / folder / captions, root / folder / ids if ids else None
        if file.is_file() and (only is None or only.is_file()):
            yield TextList(file, root, only)


def _found(root: Path, task: TextTask) -> dict[Split, list[TextList]]:
    """train.json and so on, or captions.json (questions.json, choices.json) in train, val and test or in the root; shards.

    Paths are relative to the folder of such a list.
    """
    found: dict[Split, list[TextList]] = {}
    for name, split in SPLIT_NAMES.items():
        if split in found:
            continue
        folder = root / name if name in folders_in(root) else None
        places = [(root, f"{name}_{task}"), *([(folder, task)] if folder else []), (root, name)]
        files = (place / f"{stem}{suffix}" for place, stem in places for suffix in TEXT_SUFFIXES)
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            found[split] = [TextList(file, file.parent)]
        elif folder is not None and (shards := _shards_of(folder)):
            found[split] = [TextList(shard, folder) for shard in shards]
    if "train" not in found:
        file = next((f for s in TEXT_SUFFIXES if (f := root / f"{task}{s}").is_file()), None)
        if file is not None:
            found["train"] = [TextList(file, root)]
        elif shards := _shards_of(root):
            found["train"] = [TextList(shard, root) for shard in shards]
    return found
