"""Training on pairs: the two stages of pretraining of the released weights, and fine-tuning for retrieval.

The numbers of pretraining are those of the original's configs. Of fine-tuning its authors have published neither numbers nor
settings: those are of UMT-B/16 (arXiv 2303.16058), from whose code theirs is derived. Rates are not scaled with the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from videomamba.data.settings import Augmentation, CaptionUse, MaskSettings, TextDataSettings, TextFormat
from videomamba.recipes.catalogue import Catalogue, Preset, Published
from videomamba.recipes.config import ModelSettings, TeacherSettings
from videomamba.recipes.text.config import Objectives, TextSettings, VideoTextTrainConfig
from videomamba.schema import Preprocess
from videomamba.training.settings import Optimisation, Run
from videomamba.weights.zoo import zoo_entry


class Stage(NamedTuple):
    """One script of pretraining: the corpus, the stage, and what differs between them; `gpus` x `pairs` are one step."""

    corpus: str
    masked: bool
    gpus: int
    pairs: int
    lr: float
    epochs: int
    warmup: float


STAGES = (
    Stage("5m", True, 16, 128, 4e-4, 10, 1),
    Stage("17m", True, 32, 128, 4e-4, 10, 1),
    Stage("25m", True, 32, 128, 4e-4, 10, 1),
    Stage("5m", False, 16, 64, 8e-5, 1, 0.2),
    Stage("17m", False, 32, 64, 8e-5, 1, 0.2),
    Stage("25m", False, 32, 64, 8e-5, 1, 0.2),
)
CORPORA = {
    "5m": "WebVid-2M as data.train, CC3M as images.train",
    "17m": "WebVid-2M as data.train; CC3M as images.train; CC12M, COCO, VG and SBU as images.also",
    "25m": "WebVid-10M as data.train; CC3M as images.train; CC12M, COCO, VG and SBU as images.also",
}


class Tuning(NamedTuple):
    """One data set of UMT's fine-tuning; triples are those from the 5M, 17M and 25M weights."""

    data: str
    format: TextFormat
    length: int
    lr: tuple[float, float, float]
    epochs: tuple[int, int, int]
    warmup: tuple[float, float, float]
    drop_path: float
    captions: CaptionUse = "each"
    first_seconds: float | None = None
    note: str = ""


_LONG = "UMT tests with 32 frames: `videomamba text retrieval WEIGHTS DATA --frames 32` does that"
_SMALLER = "UMT trains on 7,000 videos: --data.train msrvtt_ret_train7k.json, or MSRVTT_train.7k.csv with the official captions"

TUNINGS = (
    Tuning("msrvtt-retrieval", "msrvtt", 32, (2e-5, 2e-5, 1e-5), (10, 10, 10), (0, 0, 1), 0.2, "separate"),
    Tuning("didemo-retrieval", "didemo", 64, (2e-5,) * 3, (15, 10, 12), (1, 1, 1), 0.1, "paragraph", 30.0),
    Tuning(
        "activitynet-retrieval", "activitynet", 150, (4e-5,) * 3, (20, 20, 20), (1, 1, 1), 0.1, "paragraph", note=_LONG
    ),
    Tuning("lsmdc-retrieval", "lsmdc", 96, (2e-5,) * 3, (10, 10, 10), (1, 1, 1), 0.2),
    Tuning("msvd-retrieval", "msvd", 64, (1e-5,) * 3, (5, 5, 5), (0, 0, 0), 0.2, "separate"),
    Tuning("ssv2-label-retrieval", "captions", 25, (5e-5,) * 3, (10, 10, 10), (0, 0, 0), 0.1),
    Tuning("ssv2-template-retrieval", "captions", 25, (1e-4,) * 3, (10, 10, 10), (1, 1, 1), 0.1),
    Tuning("msrvtt-choice", "msrvtt", 32, (8e-5, 2e-5, 8e-5), (5, 5, 3), (0, 0, 0), 0.2, "separate", note=_SMALLER),
)
_CLIP = Preprocess(resize="stretch", sampling="segments", interpolation="bicubic", antialias=False)
_AUGMENT = Augmentation(crop_area=(0.5, 1.0))
_PRECISION = (
    "the original keeps weights and moments of Adam in bf16, which freezes norms, temperature and most of A; here weights and "
    "moments are fp32, products bf16, so the rate may need tuning"
)
_SHARES = (
    "run.micro_batch is the number of pairs that are each other's negatives, so it is not set: use as many processes as a step "
    "needs"
)
_FIRST_STAGE = (
    "starts from the end of the first stage, whose weights are not released: train it with {}, or name other weights"
)
_FLIP = "half of the clips are mirrored only where no caption says left or right; the original mirrors all"
_CLEAN = (
    "tokens are compared after the last block and both final norms; the original compares other ones by mistake: "
    "align.legacy does that"
)
_SCALE = "the original divides gradients of the contrastive loss by its processes: objectives.official_scale does that"
_OF_UMT = (
    "the authors of VideoMamba announced fine-tuning and published neither numbers nor settings; these are the settings of "
    "UMT-B/16 (arXiv 2303.16058)"
)


def _presets() -> Iterator[Preset[VideoTextTrainConfig]]:
    for stage in STAGES:
        yield _stage(stage)
    for row in TUNINGS:
        for which, corpus in enumerate(CORPORA):
            yield _tuning(row, which, corpus)


def _stage(row: Stage) -> Preset[VideoTextTrainConfig]:
    first, name = (f"pairs-{row.corpus}-middle-{stage}" for stage in ("masked", "masked" if row.masked else "unmasked"))
    weights = "videomamba_middle_k400_mask_pt_f8_224" if row.masked else str(Path("runs") / first / "last.safetensors")
    config = VideoTextTrainConfig(
        preset=name,
        model=ModelSettings(name="videomamba_middle", weights=weights, drop_path=0.25),
        clip=_CLIP,
        data=TextDataSettings(format="captions"),
        images=TextDataSettings(format="captions"),
        augment=_AUGMENT,
        optim=_optim(row.gpus * row.pairs, row.lr, row.epochs, row.warmup, weight_decay=0.05),
        run=Run(out=Path("runs") / name, precision="bf16", seed=42),
    )
    if row.masked:
        masked = {
            "mask": MaskSettings(name="attention", ratio=0.8),
            "image_mask": MaskSettings(name="attention", ratio=0.5),
            "teacher": TeacherSettings(weights="openai/clip-vit-base-patch16", precision="bf16"),
            "text": TextSettings(weights="bert-base-uncased"),
            "objectives": Objectives(align=1.0, per_frame=False),
        }
        config = config.model_copy(update=masked)
    notes = [
        f"data: {CORPORA[row.corpus]}; data.val is MSRVTT's test of 1000 videos",
        _PRECISION,
        _SHARES,
        _SCALE,
        _FLIP,
        _CLEAN if row.masked else _FIRST_STAGE.format(first),
    ]
    scores = zoo_entry(f"videomamba_middle_{row.corpus}_f8_224").zero_shot or {}
    reached = ", ".join(f"{data} {t2v:g} and {v2t:g}" for data, (t2v, v2t) in scores.items())
    if not row.masked:
        notes.append(f"published zero-shot R@1, text to video and video to text, of both stages: {reached}")
    return Preset(name, config, Published(source="arXiv 2403.06977 and the configs of its code", notes=tuple(notes)))


def _tuning(row: Tuning, which: int, corpus: str) -> Preset[VideoTextTrainConfig]:
    name = f"{row.data}-middle-{corpus}"
    config = VideoTextTrainConfig(
        preset=name,
        model=ModelSettings(
            name="videomamba_middle", weights=f"videomamba_middle_{corpus}_f8_224", drop_path=row.drop_path
        ),
        clip=_CLIP.model_copy(update={"num_frames": 12}),
        data=TextDataSettings(
            format=row.format,
            captions=row.captions,
            first_seconds=row.first_seconds,
        ),
        augment=_AUGMENT,
        text=TextSettings(max_length=row.length),
        objectives=Objectives(words=0.0),
        optim=_optim(256, row.lr[which], row.epochs[which], row.warmup[which], weight_decay=0.02),
        run=Run(out=Path("runs") / name, precision="bf16", seed=42),
    )
    notes = (_OF_UMT, _SHARES, _FLIP, *filter(None, (row.note,)))
    return Preset(name, config, Published(source="arXiv 2303.16058 and its code", notes=notes))


def _optim(batch: int, lr: float, epochs: int, warmup: float, *, weight_decay: float) -> Optimisation:
    return Optimisation(
        epochs=epochs,
        batch_size=batch,
        lr=lr,
        min_lr=lr / 100,
        warmup_lr=lr / 100,
        warmup_epochs=warmup,
        lr_reference=0,
        weight_decay=weight_decay,
    )


VIDEO_TEXT = Catalogue(
    "text train",
    VideoTextTrainConfig,
    _presets,
    columns={
        "teacher": lambda config: config.teacher.weights,
        "mask": lambda config: f"{config.mask.name} {config.mask.ratio:g}" if config.mask.ratio else None,
        "tokens": lambda config: str(config.text.max_length),
    },
)
"""Training on videos and texts."""
