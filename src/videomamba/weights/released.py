"""The facts of the zoo: all released weights, and the small ones inside the package.

Names are `videomamba_<size>_<data>_f<frames>_<pixels>`, with `mask_ft` for weights fine-tuned from masked pretraining
and `mask_pt` for that pretraining itself; images have no frames, video-text models no data set but a number of pairs.
Numbers are those that the original reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from videomamba.schema import Preprocess

Kind = Literal["image", "masked", "video", "multimodal"]

CAMERA_MODEL = "videomamba_micro_camera"
ACTIONS_MODEL = "videomamba_micro_synthetic"
TEXT_MODEL = "videomamba_micro_text_synthetic"
"""The weights inside the package: what answers where the user names no others."""


@dataclass(frozen=True)
class ZooEntry:
    """One weights file with its metadata.

    `config` holds the fields of VideoMambaConfig that differ from its `architecture`. `top1` is the reported
    accuracy in percent over `clips` x `crops` views of each video; `zero_shot` the reported recall at 1, in percent,
    (text to video, video to text) for each data set. `init` names the weights that training started from, None where
    it started from scratch. `labels` is the key of its class names, None where they are not known. `faults` are errors
    of the file or of its publication, `notes` hints for its use. `knows` is said with every answer of a network that knows
    only a small world: what it knows, and where its answers mean nothing. `preprocess` is None for packaged files, which
    have their own (`preprocess_of` reads it).
    """

    name: str
    architecture: str
    kind: Kind
    dataset: str
    file: str
    config: Mapping[str, object]
    preprocess: Preprocess | None
    clips: int = 1
    crops: int = 1
    top1: float | None = None
    zero_shot: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    init: str | None = None
    labels: str | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    knows: str = ""
    packaged: bool = False


_IMAGE_TOP1 = {
    "tiny": {224: 76.9, 448: 79.3, 576: 79.6},
    "small": {224: 81.2, 448: 83.2, 576: 83.5},
    "middle": {224: 82.8, 448: 83.8, 576: 84.0},
    "base": {224: 82.7},
}
_IMAGE_CHAIN = {224: "224", 448: "224to448", 576: "224to448to576"}


@dataclass(frozen=True)
class _Dataset:
    """A video data set: its views, and for each (frames, pixels) the top-1 of tiny, small, middle and masked middle.

    `clip_seconds` is the length of its videos, None where that varies much: a clip covers all of its video.
    """

    title: str
    classes: int
    labels: str | None
    sampling: Literal["uniform", "tsn"]
    clips: int
    top1: Mapping[tuple[int, int], tuple[float, float, float, float]]
    clip_seconds: float | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_VIDEO = {
    "k400": _Dataset(
        title="Kinetics-400",
        classes=400,
        labels="kinetics400",
        sampling="uniform",
        clip_seconds=10.0,
        clips=4,
        top1={
            (8, 224): (76.9, 79.3, 80.6, 82.0),
            (16, 224): (78.1, 80.8, 81.9, 83.4),
            (32, 224): (78.8, 81.5, 82.4, 83.9),
            (64, 224): (79.6, 81.8, 82.8, 84.3),
            (64, 384): (80.3, 82.7, 83.3, 85.0),
        },
        notes=(
            "class names are in the order of the authors' Kinetics weights ('riding a bike' is 0), not the "
            "alphabetical one of other toolkits; that order was not checked on this file",
        ),
    ),
    "ssv2": _Dataset(
        title="Something-Something V2",
        classes=174,
        labels="something_something_v2",
        sampling="tsn",
        clip_seconds=4.0,  # on average
        clips=2,
        top1={
            (8, 224): (65.1, 66.6, 67.3, 70.2),
            (16, 224): (66.0, 67.7, 68.3, 71.0),
            (16, 288): (66.2, 68.1, 68.4, 71.4),
        },
        faults=("the published table says 4 clips, the published scripts test 2 and their reader has no more than 2",),
        notes=("left and right carry meaning here: never flip a video",),
    ),
    "breakfast": _Dataset(
        title="Breakfast",
        classes=10,
        labels="breakfast",
        sampling="uniform",
        clips=4,
        top1={(32, 224): (94.3, 95.3, 94.8, 97.9), (64, 224): (94.3, 97.4, 95.8, 96.9)},
        faults=("the reported accuracy needs the authors' own split; the usual one of 1357/355 videos gives less",),
    ),
    "coin": _Dataset(
        title="COIN",
        classes=180,
        labels=None,
        sampling="uniform",
        clips=10,
        top1={(32, 224): (86.2, 88.4, 88.3, 89.6), (64, 224): (87.0, 88.7, 89.5, 90.4)},
        notes=("its class names were not published in index order: answers are class numbers",),
    ),
}

_RETRIEVAL_SETS = ("MSRVTT", "DiDeMo", "ActivityNet", "LSMDC", "MSVD")
_RETRIEVAL = {
    "5M": ((32.0, 28.2), (36.6, 38.3), (35.9, 32.8), (18.0, 15.9), (38.0, 57.5)),
    "17M": ((34.7, 29.5), (42.0, 42.3), (40.1, 34.2), (18.4, 16.5), (40.3, 61.8)),
    "25M": ((35.6, 29.1), (43.1, 43.8), (41.0, 37.1), (20.4, 17.9), (42.0, 62.7)),
}

_WRONG_LINK = "the published link leads to the file without mask; this entry has the file's true name"
_OTHER_MODEL = "its published script builds the small model, though the file is of the tiny one"
_ZERO_TIME = "fine-tuned from the 32-frame Kinetics weights with its temporal embedding silently started at zero"
_FAULTS: Mapping[str, tuple[str, ...]] = {
    "videomamba_tiny_in1k_448": ("its published link leads to the 224-pixel middle model; this entry does not",),
    "videomamba_tiny_k400_f64_384": (_OTHER_MODEL,),
    "videomamba_tiny_ssv2_f16_288": (_OTHER_MODEL + ", and declares 64 frames for its 16",),
    "videomamba_middle_k400_mask_ft_f16_224": (_WRONG_LINK,),
    "videomamba_middle_ssv2_mask_ft_f16_224": (_WRONG_LINK,),
    "videomamba_middle_ssv2_mask_ft_f16_288": (
        "its published script reads the videos as if they were Kinetics: flips are on, sampling is uniform",
    ),
    "videomamba_tiny_breakfast_f64_224": (_ZERO_TIME,),
    "videomamba_tiny_coin_f64_224": (_ZERO_TIME,),
    "videomamba_middle_breakfast_mask_ft_f64_224": (
        "the uploaded file has a temporal embedding of 32 slots, not 64: this entry has 32 frames",
    ),
    "videomamba_middle_coin_mask_ft_f64_224": ("the published table says 10 clips, its script tests 4",),
    "videomamba_middle_ssv2_mask_pt_f8_224": ("the published table says 200 epochs, the script and its authors 800",),
}
_STORED_FRAMES = {"videomamba_middle_breakfast_mask_ft_f64_224": 32}
"""Frames of the files whose number of frames is not that of their name."""

_UNTRAINED = "its last block and final norm were never trained: fine-tune it, do not read its features"


def _images() -> Iterator[ZooEntry]:
    for size, row in _IMAGE_TOP1.items():
        for pixels, top1 in row.items():
            lower = {448: 224, 576: 448}.get(pixels)
            distilled = pixels == 224 and size in ("middle", "base")
            yield ZooEntry(
                name=(name := f"videomamba_{size}_in1k_{pixels}"),
                architecture=f"videomamba_{size}",
                kind="image",
                dataset="ImageNet-1K",
                file=f"videomamba_{size[0]}16_in1k_res{_IMAGE_CHAIN[pixels]}.pth",
                config={"num_classes": 1000, "num_frames": 1, "image_size": (pixels, pixels)},
                preprocess=Preprocess(
                    num_frames=1, image_size=(pixels, pixels), crop_ratio=0.875, interpolation="bicubic", antialias=True
                ),
                top1=top1,
                init=f"videomamba_{size}_in1k_{lower}" if lower else None,
                labels="imagenet1k",
                faults=_FAULTS.get(name, ()),
                notes=("trained with the features of videomamba_small_in1k_224 as targets",) if distilled else (),
            )


def _masked() -> Iterator[ZooEntry]:
    for data in ("k400", "ssv2"):
        name = f"videomamba_middle_{data}_mask_pt_f8_224"
        yield ZooEntry(
            name=name,
            architecture="videomamba_middle",
            kind="masked",
            dataset=_VIDEO[data].title,
            file=f"videomamba_m16_{data}_mask_pt_f8_res224.pth",
            config={"num_classes": 0, "num_frames": 8, "image_size": (224, 224)},
            preprocess=Preprocess(num_frames=8, sampling="tsn", clip_seconds=_VIDEO[data].clip_seconds, antialias=True),
            faults=(_UNTRAINED, *_FAULTS.get(name, ())),
            notes=("800 epochs towards the features of a CLIP ViT-B/16 image encoder",),
        )


def _videos() -> Iterator[ZooEntry]:
    for data, facts in _VIDEO.items():
        for (frames, pixels), row in facts.top1.items():
            for column, top1 in zip(("tiny", "small", "middle", "mask"), row, strict=True):
                yield _video(data, facts, column, frames, pixels, top1)


def _video(data: str, facts: _Dataset, column: str, frames: int, pixels: int, top1: float) -> ZooEntry:
    size, mask = ("middle", "mask_ft_") if column == "mask" else (column, "")
    name = f"videomamba_{size}_{data}_{mask}f{frames}_{pixels}"
    stored = _STORED_FRAMES.get(name, frames)
    if pixels != 224:
        init = f"videomamba_{size}_{data}_{mask}f{frames}_224"
    elif data in ("breakfast", "coin"):
        init = f"videomamba_{size}_k400_{mask}f{32 if size == 'tiny' else frames}_224"
    else:
        init = f"videomamba_middle_{data}_mask_pt_f8_224" if mask else f"videomamba_{size}_in1k_224"
    resolution = "224" if pixels == 224 else f"224to{pixels}"
    return ZooEntry(
        name=name,
        architecture=f"videomamba_{size}",
        kind="video",
        dataset=facts.title,
        file=f"videomamba_{size[0]}16_{data}_{mask}f{frames}_res{resolution}.pth",
        config={"num_classes": facts.classes, "num_frames": stored, "image_size": (pixels, pixels)},
        preprocess=Preprocess(
            num_frames=stored,
            image_size=(pixels, pixels),
            sampling=facts.sampling,
            clip_seconds=facts.clip_seconds,
            antialias=False,
        ),
        clips=facts.clips,
        crops=3,
        top1=top1,
        init=init,
        labels=facts.labels,
        faults=(*facts.faults, *_FAULTS.get(name, ())),
        notes=facts.notes,
    )


def _multimodal() -> Iterator[ZooEntry]:
    for pairs, scores in _RETRIEVAL.items():
        yield ZooEntry(
            name=f"videomamba_middle_{pairs.lower()}_f8_224",
            architecture="videomamba_middle",
            kind="multimodal",
            dataset=f"{pairs} pairs of text with images and videos",
            file=f"videomamba_m16_{pairs}_f8_res224.pth",
            config={"num_classes": 0, "num_frames": 8, "image_size": (224, 224)},
            preprocess=Preprocess(
                num_frames=8, resize="stretch", sampling="segments", interpolation="bicubic", antialias=False
            ),
            zero_shot=dict(zip(_RETRIEVAL_SETS, scores, strict=True)),
            init="videomamba_middle_k400_mask_pt_f8_224",
            notes=(
                "the commands for text need the vocabulary of bert-base-uncased; others use its video tower, without classes",
            ),
        )


_PACKAGED = (
    ZooEntry(
        name=CAMERA_MODEL,
        architecture="videomamba_micro",
        kind="video",
        dataset="a virtual camera over photographs and footage",
        file=f"{CAMERA_MODEL}.safetensors",
        config={"depth": 4, "pool": "mean", "init": "fan_in", "scan_order": "temporal_first"},
        preprocess=None,
        knows="how the camera moves in a second or two of any video, and where shots change; not what the video shows",
        packaged=True,
    ),
    ZooEntry(
        name=ACTIONS_MODEL,
        architecture="videomamba_micro",
        kind="video",
        dataset="synthetic videos",
        file=f"{ACTIONS_MODEL}.safetensors",
        config={"depth": 5, "tubelet_size": 2, "pool": "mean", "init": "fan_in"},
        preprocess=None,
        knows="only moving shapes as `videomamba synth` renders them; its answers about real footage mean nothing",
        packaged=True,
    ),
    ZooEntry(
        name=TEXT_MODEL,
        architecture="videomamba_micro",
        kind="multimodal",
        dataset="synthetic videos and sentences about them",
        file=f"{TEXT_MODEL}.safetensors",
        config={"num_classes": 0, "depth": 5, "tubelet_size": 2, "pool": "mean", "init": "fan_in"},
        preprocess=None,
        init=ACTIONS_MODEL,
        knows="only moving shapes as `videomamba synth` renders them, and sentences about them; other videos and "
        "sentences mean nothing to it",
        packaged=True,
    ),
)


def entries() -> Iterator[ZooEntry]:
    """All of them, the packaged ones first."""
    yield from _PACKAGED
    yield from _images()
    yield from _videos()
    yield from _masked()
    yield from _multimodal()
