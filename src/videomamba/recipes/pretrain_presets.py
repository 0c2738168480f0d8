"""Masked pretraining on Kinetics-400 and Something-Something V2, for every size.

The numbers are those of the original's script for the middle network, the same for both data sets. Nothing is published of the
other sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from videomamba.data.settings import Augmentation, DataSettings, Format, MaskSettings
from videomamba.recipes.catalogue import Catalogue, Preset, Published
from videomamba.recipes.config import ModelSettings, TeacherSettings
from videomamba.recipes.pretrain_config import PretrainConfig
from videomamba.recipes.published import FRESH_STEPS
from videomamba.training.settings import Optimisation, Run
from videomamba.weights.zoo import preprocess_of, zoo_entry


class MaskedRun(NamedTuple):
    """One size: drop path, videos in one pass of one GPU."""

    size: str
    drop_path: float
    videos: int


RUNS = (
    MaskedRun("tiny", 0.1, 64),
    MaskedRun("small", 0.2, 64),
    MaskedRun("middle", 0.4, 64),
    MaskedRun("base", 0.4, 64),
)
_FORMATS: dict[str, Format] = {"k400": "kinetics", "ssv2": "ssv2"}
_TEACHER = "openai/clip-vit-base-patch16"
_CORRECT = (
    "the student's features are those after the last block and the final norm, the teacher's those after CLIP's last norm, of "
    "pictures normalised as CLIP expects; the original omits all three by mistake: align.legacy does that"
)
_OWN = "the authors pretrained the middle network only; drop path here is our choice"
_SSV2 = "the original's script trains 801 epochs, its table says 200; 801 here"


def _presets() -> Iterator[Preset[PretrainConfig]]:
    for data, format in _FORMATS.items():
        clip = preprocess_of(zoo_entry(f"videomamba_middle_{data}_mask_pt_f8_224"))
        for row in RUNS:
            name = f"{data}-{row.size}-mask-pt-f8"
            config = PretrainConfig(
                preset=name,
                model=ModelSettings(name=f"videomamba_{row.size}", drop_path=row.drop_path),
                teacher=TeacherSettings(weights=_TEACHER, precision="bf16"),
                mask=MaskSettings(name="attention", ratio=0.8),
                clip=clip.model_copy(update={"sampling": "tsn"}),
                data=DataSettings(format=format),
                augment=Augmentation(crop="multiscale", flip="on"),
                optim=Optimisation(
                    epochs=801,
                    batch_size=2048,
                    lr=1.5e-4,
                    min_lr=1e-5,
                    warmup_lr=0,
                    warmup_epochs=40,
                    betas=(0.9, 0.95),
                    weight_decay=0.05,
                    no_decay="legacy",
                ),
                run=Run(out=Path("runs") / name, precision="bf16", micro_batch=row.videos, evaluate_every=50),
            )
            notes = (
                _CORRECT,
                FRESH_STEPS,
                *((_OWN,) if row.size != "middle" else ()),
                *((_SSV2,) if data == "ssv2" else ()),
            )
            yield Preset(name, config, Published(source="arXiv 2403.06977 and the scripts of its code", notes=notes))


PRETRAIN = Catalogue(
    "pretrain",
    PretrainConfig,
    _presets,
    columns={
        "teacher": lambda config: config.teacher.weights,
        "mask": lambda config: f"{config.mask.name} {config.mask.ratio:g}",
    },
)
"""Masked pretraining."""
