"""The formats that are folders: one per class, of videos, of folders of frames, or of images; ImageNet; `videomamba synth`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path

from videomamba.data.sets.formats.entry import Entry, Source, Split
from videomamba.data.sets.formats.file_index import folders_in, names_in
from videomamba.data.sets.formats.lists import SPLIT_NAMES, default_lists, given_lists, read_list
from videomamba.data.sets.formats.table import read_names
from videomamba.data.sets.symmetry import LEFT_RIGHT, UP_DOWN, swapped_classes
from videomamba.data.settings import DataSettings
from videomamba.schema import Symmetries, VideoMambaError
from videomamba.synthetic.dataset import ACTIONS, SETTINGS_FILE, reversed_action
from videomamba.video.open import IMAGE_SUFFIXES, find_videos


def find_folder(settings: DataSettings) -> Source:
    """`root/<class>`, or `root/train/<class>` with val (or validation) and test beside it. Classes are sorted by name.

    In the folder of a class each video file is a video; so is each folder that holds images, wherever it lies; where there
    are neither, each image is a record of its own. Folders are split folders only if all that lie in the root are; raises
    VideoMambaError where split folders with folders in them lie beside others, because either may be meant.
    """
    root = the_root(settings)
    parts = _split_folders(root) or {"train": root}
    labels = partial(_classes, parts["train"]) if "train" in parts else None
    return Source({split: cache(partial(_videos, folder)) for split, folder in parts.items()}, labels=labels)


def find_videos_of_folder(settings: DataSettings) -> Source:
    """All videos below the root, or below root/train, root/val and root/test, whatever folders they lie in.

    What counts as a video is what `video.open.find_videos` finds. The folder at the top stands for a class, so that a share
    that is held out for validation is the same one as with classes.
    """
    root = the_root(settings)
    parts = _split_folders(root) or {"train": root}
    return Source({split: cache(partial(_all_videos, folder)) for split, folder in parts.items()})


def find_imagenet(settings: DataSettings) -> Source:
    """`root/train/<synset>/*.JPEG` and `root/val/<synset>/*.JPEG`, classes in the order of the sorted synset names.

    Or the original's lists `relative path, label` without header, in root or root/meta: train.txt, val.txt, whose paths
    begin at the root or at the folder of their split. Source: arXiv 2403.06977's image code.
    """
    root = the_root(settings)
    lists = default_lists(root, ("", "meta")) | given_lists(settings)
    folders = {SPLIT_NAMES[name]: root / name for name in folders_in(root) if name in SPLIT_NAMES}
    labels = partial(_classes, folders["train"]) if "train" in folders and folders_in(folders["train"]) else None
    if lists:
        parts = {s: cache(partial(_images_of_list, f, folders.get(s, root), settings)) for s, f in lists.items()}
        return Source(parts, labels=labels, nameless_mirror=True)
    if labels is None:
        raise VideoMambaError(
            f"{root}: no ImageNet here; looked for train/<synset>/*.JPEG and for lists such as train.txt"
        )
    return Source({split: cache(partial(_images, f)) for split, f in folders.items()}, labels=labels)


def find_synthetic(settings: DataSettings) -> Source:
    """Folders that `videomamba synth` wrote: the root, or one or more below root/train, root/val and root/test, or below it.

    Mirrored, upside down and backwards, every action is another one of the set, or itself.
    """
    root = the_root(settings)
    folders = synthetic_folders(root)
    if not folders:
        raise VideoMambaError(f"{root}: no {SETTINGS_FILE} here or two folders down; make one with `videomamba synth`")
    cut: dict[Split, list[Path]] = {}
    for folder in folders:
        top = folder.relative_to(root).parts[:1]
        cut.setdefault(SPLIT_NAMES.get(top[0], "train") if top else "train", []).append(folder)
    backwards = tuple(reversed_action(i) for i in range(len(ACTIONS)))
    symmetries = Symmetries(swapped_classes(ACTIONS, LEFT_RIGHT), swapped_classes(ACTIONS, UP_DOWN), backwards)
    parts = {split: cache(partial(_actions, tuple(part), root)) for split, part in cut.items()}
    return Source(parts, labels=lambda: ACTIONS, symmetries=symmetries)


def synthetic_folders(root: Path) -> list[Path]:
    """Folders with the settings of `videomamba synth`, at most two below `root`."""
    patterns = (SETTINGS_FILE, f"*/{SETTINGS_FILE}", f"*/*/{SETTINGS_FILE}")
    return sorted(file.parent for file in chain.from_iterable(map(root.glob, patterns)))


def has_class_folders(root: Path) -> bool:
    """Whether some folder below `root`, at most two down, holds anything: enough to take it for folders of classes."""
    return any(names_in(root / name) for name in folders_in(root))


def the_root(settings: DataSettings) -> Path:
    """Raises VideoMambaError when there is no root or it is not a folder."""
    root = settings.root
    if root is None:
        raise VideoMambaError(f"root: format {settings.format} needs the folder of the data set; give it as data.root")
    if not root.is_dir():
        raise VideoMambaError(f"{root}: {'is not a folder' if root.exists() else 'no such folder'}; check the spelling")
    return root


def _split_folders(root: Path) -> dict[Split, Path] | None:
    names = folders_in(root)
    named = [name for name in names if name.lower() in SPLIT_NAMES]
    others = [name for name in names if name not in named]
    if others and len(named) > 1 and all(folders_in(root / name) for name in named):
        raise VideoMambaError(
            f"{root}: beside {' and '.join(named)} lies {others[0]}, which is not a split; "
            "move it out of the folder, or give lists with data.train and data.val"
        )
    if others or not named:
        return None
    folders: dict[Split, Path] = {}
    for name in named:
        split = SPLIT_NAMES[name.lower()]
        if split in folders:
            raise VideoMambaError(f"{root}: both {folders[split].name} and {name} hold videos for {split}; keep one")
        folders[split] = root / name
    return folders


def _classes(folder: Path) -> Sequence[str]:
    names = folders_in(folder)
    if not names:
        raise VideoMambaError(f"{folder}: no folders here; make one per class and put its videos there")
    return names


def _videos(folder: Path) -> list[Entry]:
    return [Entry(str(path), label=name) for name in _classes(folder) for path in _videos_of_class(folder / name)]


def _all_videos(folder: Path) -> list[Entry]:
    tops = {path: path.relative_to(folder).parts for path in find_videos(folder)}
    return [Entry(str(path), label=top[0] if len(top) > 1 else None) for path, top in tops.items()]


def _videos_of_class(folder: Path) -> list[Path]:
    found = find_videos(folder)
    if found == [folder]:  # images, and neither videos nor folders beside them
        return [folder / name for name in _image_names(folder)]
    return found


def _images(folder: Path) -> list[Entry]:
    entries = [
        Entry(os.path.join(folder, name, image), label=name)  # noqa: PTH118 a Path for each of 1.3 million takes long
        for name in _classes(folder)
        for image in _image_names(folder / name)
    ]
    if not entries:
        raise VideoMambaError(
            f"{folder}: its folders hold no images; put those of each class into a folder of its name"
        )
    return entries


def _image_names(folder: Path) -> list[str]:
    return [name for name, _ in names_in(folder) if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]  # noqa: PTH122


def _images_of_list(file: Path, folder: Path, settings: DataSettings) -> list[Entry]:
    root = the_root(settings)
    entries = read_list(file, settings)
    first = Path(entries[0].path).relative_to(root) if Path(entries[0].path).is_relative_to(root) else None
    if first is None or (root / first).exists() or not (folder / first).exists():
        return entries
    return read_list(file, settings, locate=partial(os.path.join, str(folder)))


def _actions(folders: Sequence[Path], root: Path) -> list[Entry]:
    for folder in folders:
        if read_names(folder / "labels.txt") != ACTIONS:
            raise VideoMambaError(f"{folder}/labels.txt: has other actions than this version makes; make the set again")
    below_root = DataSettings(root=root)
    return [
        entry
        for folder in folders
        for entry in read_list(folder / "annotations.csv", below_root, locate=partial(os.path.join, str(folder)))
    ]
