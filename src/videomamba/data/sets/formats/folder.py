"""The formats that are folders: one per class, with videos, folders of frames, or images; ImageNet; synthetic data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from videomamba.data.sets.formats.entry import Entry, Source, Split
from videomamba.data.sets.formats.file_index import folders_in, kinds_in, names_in
from videomamba.data.sets.formats.lists import SPLIT_NAMES, find_lists, read_list
from videomamba.data.sets.formats.table import read_names
from videomamba.data.sets.symmetry import LEFT_RIGHT, UP_DOWN, swapped_classes
from videomamba.data.settings import DataSettings
from videomamba.schema import IgnoredFile, Symmetries, VideoMambaError, one_form
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.camera.motions import BACKWARDS, MOTIONS
from videomamba.synthetic.dataset import reversed_action
from videomamba.synthetic.writing import SETTINGS_FILE
from videomamba.video.find import search_videos, why_ignored
from videomamba.video.open import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def find_folder(settings: DataSettings) -> Source:
    """`root/<class>`, or `root/train/<class>` with val (or validation) and test next to it. Classes are sorted by name.

    In a class folder each video file is a video, and so is each folder of images at any depth; without either, each image
    is a record. Other files are `Source.ignored`, as is a class folder without videos. Two folders whose names differ only
    in their Unicode form are one class. Folders are split folders only if all folders in the root are. Raises
    VideoMambaError for a mixture of split folders with subfolders and other folders, because the meaning is unclear.
    """
    root = the_root(settings)
    folders = _split_folders(root) or {"train": root}
    return _source({split: cache(partial(_videos, folder)) for split, folder in folders.items()}, root, folders)


def find_videos_of_folder(settings: DataSettings) -> Source:
    """All videos (`video.open.find_videos`) below the root, or below root/train, root/val and root/test, at any depth.

    The top folder counts as the class, so that the videos held out for validation are the same as with classes.
    """
    root = the_root(settings)
    folders = _split_folders(root) or {"train": root}
    return _source({split: cache(partial(_all_videos, folder)) for split, folder in folders.items()}, root)


def find_imagenet(settings: DataSettings) -> Source:
    """`root/train/<synset>/*.JPEG` and `root/val/<synset>/*.JPEG`, classes in the order of the sorted synset names.

    Or the original's lists `relative path, label` without header, in root or root/meta: train.txt, val.txt, with paths
    relative to the root or to the folder of the split. Source: arXiv 2403.06977's image code.
    """
    root = the_root(settings)
    lists = find_lists(settings, ("", "meta"))
    folders = {SPLIT_NAMES[name]: root / name for name in folders_in(root) if name in SPLIT_NAMES}
    labels = partial(_classes, folders["train"]) if "train" in folders and folders_in(folders["train"]) else None
    if lists:
        parts = {s: cache(partial(_images_of_list, f, folders.get(s, root), settings)) for s, f in lists.items()}
        return Source(parts, labels=labels, nameless_mirror=True)
    if labels is None:
        raise VideoMambaError(f"{root}: no ImageNet here; looked for train/<synset>/*.JPEG and lists such as train.txt")
    return _source({split: cache(partial(_images, folder)) for split, folder in folders.items()}, root, folders)


def find_synthetic(settings: DataSettings) -> Source:
    """Folders written by `videomamba synth` or `synth-camera`: the root, or some below root/train, root/val, root/test or root.

    A mirrored, upside-down or reversed action or camera motion is another class of the set, or the same.
    """
    root = the_root(settings)
    folders = synthetic_folders(root)
    if not folders:
        raise VideoMambaError(f"{root}: no {SETTINGS_FILE} here or two folders down; make one with `videomamba synth`")
    names = _synthetic_names(folders)
    cut: dict[Split, list[Path]] = {}
    for folder in folders:
        top = folder.relative_to(root).parts[:1]
        cut.setdefault(SPLIT_NAMES.get(top[0], "train") if top else "train", []).append(folder)
    symmetries = Symmetries(swapped_classes(names, LEFT_RIGHT), swapped_classes(names, UP_DOWN), _BACKWARDS[names])
    parts = {split: cache(partial(_synthetic_entries, tuple(part), root)) for split, part in cut.items()}
    return Source(parts, labels=lambda: names, symmetries=symmetries)


def synthetic_folders(root: Path) -> list[Path]:
    """Folders with the settings of `videomamba synth`, at most two below `root`."""
    return sorted(file.parent for above in ("", "*/", "*/*/") for file in root.glob(f"{above}{SETTINGS_FILE}"))


def has_class_folders(root: Path) -> bool:
    """Whether a folder in `root` holds anything: enough to treat the folders as classes."""
    return any(names_in(root / name) for name in folders_in(root))


def the_root(settings: DataSettings) -> Path:
    """Raises VideoMambaError when there is no root or it is not a folder."""
    root = settings.root
    if root is None:
        raise VideoMambaError(f"data.root: missing; format {settings.format} needs the folder of the data set")
    if not root.is_dir():
        if root.exists():
            raise VideoMambaError(
                f"{root}: is not a folder; name a list of videos with data.train, data.val or data.test"
            )
        raise VideoMambaError(f"{root}: no such folder; check the spelling")
    return root


def _split_folders(root: Path) -> dict[Split, Path] | None:
    names = folders_in(root)
    named = [name for name in names if name.lower() in SPLIT_NAMES]
    others = [name for name in names if name not in named]
    if others and len(named) > 1 and all(folders_in(root / name) for name in named):
        raise VideoMambaError(
            f"{root}: {others[0]} is not a split, unlike {' and '.join(named)}; move it to another folder, "
            "or give lists with data.train and data.val"
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


@dataclass(frozen=True)
class _Listing:
    """The videos of a split and the other files in its folders."""

    entries: list[Entry]
    ignored: list[IgnoredFile]


def _source(
    listings: Mapping[Split, Callable[[], _Listing]], root: Path, folders: Mapping[Split, Path] | None = None
) -> Source:
    """A source whose classes are the folders in `folders`, of the training videos if there are any."""
    of_classes = [folders["train"]] if folders and "train" in folders else list((folders or {}).values())
    ignored = {split: partial(lambda listing: listing().ignored, listing) for split, listing in listings.items()}
    if folders and root not in folders.values():  # files beside the folders of the splits
        first = next(iter(ignored))
        ignored[first] = partial(lambda rest: [*_beside_classes(root), *rest()], ignored[first])
    return Source(
        {split: partial(lambda listing: listing().entries, listing) for split, listing in listings.items()},
        labels=partial(_class_names, of_classes) if of_classes else None,
        ignored=ignored,
    )


def _class_names(folders: Sequence[Path]) -> Sequence[str]:
    return sorted({one_form(name) for folder in folders for name in _classes(folder)})


def _classes(folder: Path) -> Sequence[str]:
    names = folders_in(folder)
    if not names:
        raise VideoMambaError(f"{folder}: no folders here; make one per class and put its videos there")
    return names


def _videos(folder: Path) -> _Listing:
    listing = _Listing([], _beside_classes(folder))
    for name in _classes(folder):
        found = search_videos(folder / name, may_be_empty=True, within=folder.parent)
        videos, ignored = found.videos, found.ignored
        if videos == (folder / name,):  # only images, neither videos nor folders
            videos = tuple(folder / name / image for image in _image_names(folder / name))
        listing.entries.extend(Entry(str(path), label=name) for path in videos)
        listing.ignored.extend(ignored)
        if not videos:
            listing.ignored.append(_empty_class(folder / name, "videos", ignored))
    if not listing.entries:
        raise VideoMambaError(f"{folder}: its folders hold no videos; put the videos of each class into its folder")
    return listing


def _beside_classes(folder: Path) -> list[IgnoredFile]:
    """The files beside the folders of the classes that look like videos; lists and notes are expected there."""
    found = []
    for name, kind in kinds_in(folder):
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        if kind == "broken link" or (kind == "file" and suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES):
            path = folder / name
            reason = (
                why_ignored(path, kind) if kind == "broken link" else "is in no folder of a class; move it into one"
            )
            found.append(IgnoredFile(str(path), reason))
    return found


def _all_videos(folder: Path) -> _Listing:
    found = search_videos(folder)
    tops = {path: path.relative_to(folder).parts for path in found.videos}
    entries = [Entry(str(path), label=top[0] if len(top) > 1 else None) for path, top in tops.items()]
    return _Listing(entries, list(found.ignored))


def _images(folder: Path) -> _Listing:
    listing = _Listing([], _beside_classes(folder))
    for name in _classes(folder):
        before = len(listing.entries)
        for image, kind in kinds_in(folder / name):
            path = os.path.join(folder, name, image)  # noqa: PTH118 1.3 million Path objects take long
            if kind in ("file", "broken link") and os.path.splitext(image)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122
                listing.entries.append(Entry(path, label=name))
            else:
                listing.ignored.append(IgnoredFile(path, "is not an image of the class"))
        if len(listing.entries) == before:
            listing.ignored.append(_empty_class(folder / name, "images"))
    if not listing.entries:
        raise VideoMambaError(f"{folder}: its folders hold no images; put the images of each class into its folder")
    return listing


def _empty_class(folder: Path, kind: str, ignored: Sequence[IgnoredFile] = ()) -> IgnoredFile:
    others = f"; ignored {ignored[0]}" if ignored else ""
    return IgnoredFile(str(folder), f"holds no {kind}; put some into it or remove the folder{others}", empty_class=True)


def _image_names(folder: Path) -> list[str]:
    return [name for name, _ in names_in(folder) if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]  # noqa: PTH122


def _images_of_list(file: Path, folder: Path, settings: DataSettings) -> list[Entry]:
    root = the_root(settings)
    entries = read_list(file, settings)
    first = Path(entries[0].path).relative_to(root) if Path(entries[0].path).is_relative_to(root) else None
    if first is None or (root / first).exists() or not (folder / first).exists():
        return entries
    return read_list(file, settings, locate=partial(os.path.join, str(folder)))


_BACKWARDS: Mapping[tuple[str, ...], tuple[int, ...]] = {
    ACTIONS: tuple(reversed_action(i) for i in range(len(ACTIONS))),
    MOTIONS: BACKWARDS,
}
"""The class names of each kind of synthetic data, and the class of each video played backwards."""


def _synthetic_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """The class names, which all `folders` have."""
    found = {folder: tuple(read_names(folder / "labels.txt")) for folder in folders}
    first, names = next(iter(found.items()))
    for folder, others in found.items():
        if others not in _BACKWARDS:
            raise VideoMambaError(f"{folder}/labels.txt: has other classes than this version makes; make the set again")
        if others != names:
            raise VideoMambaError(
                f"{folder}/labels.txt: has other classes than {first}; keep actions and camera motions apart"
            )
    return names


def _synthetic_entries(folders: Sequence[Path], root: Path) -> list[Entry]:
    settings, locate = DataSettings(root=root), os.path.join
    lists = [(folder / "annotations.csv", partial(locate, str(folder))) for folder in folders]
    return [entry for file, of_folder in lists for entry in read_list(file, settings, locate=of_folder)]
