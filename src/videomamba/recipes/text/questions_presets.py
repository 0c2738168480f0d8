"""Questions on ActivityNet, MSRVTT and MSVD, from each of the released video-text networks.

The authors of VideoMamba have published no numbers and no script for questions. The settings are those of UMT-B/16
(arXiv 2303.16058), from whose code theirs is derived; its rates are not scaled with the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from videomamba.data.settings import Augmentation, TextDataSettings, TextFormat
from videomamba.recipes.catalogue import Catalogue, Preset, Published
from videomamba.recipes.config import ModelSettings
from videomamba.recipes.text.questions_config import QuestionsConfig
from videomamba.training.settings import Optimisation, Run
from videomamba.weights.zoo import preprocess_of, zoo_entry


class QuestionsRun(NamedTuple):
    """One row of the table: a data set and the pairs of the pretraining."""

    data: str
    pairs: str
    lr: float
    epochs: int
    drop_path: float


RUNS = (
    QuestionsRun("anet", "5m", 4e-5, 12, 0.2),
    QuestionsRun("anet", "17m", 4e-5, 12, 0.2),
    QuestionsRun("anet", "25m", 4e-5, 12, 0.2),
    QuestionsRun("msrvtt", "5m", 2e-5, 8, 0.2),
    QuestionsRun("msrvtt", "17m", 2e-5, 8, 0.2),
    QuestionsRun("msrvtt", "25m", 2e-5, 8, 0.4),
    QuestionsRun("msvd", "5m", 2e-5, 15, 0.2),
    QuestionsRun("msvd", "17m", 2e-5, 15, 0.2),
    QuestionsRun("msvd", "25m", 6e-5, 6, 0.2),
)
FORMATS: Mapping[str, TextFormat] = {"anet": "activitynet", "msrvtt": "msrvtt", "msvd": "msvd"}
"""By the name of the data set in a preset."""
_OF_UMT = (
    "the authors of VideoMamba announced fine-tuning and published neither numbers nor settings; these are the settings of "
    "UMT-B/16 (arXiv 2303.16058)"
)
_LONG = "UMT tests with 32 frames: `videomamba text questions WEIGHTS --frames 32` does that"


def _presets() -> Iterator[Preset[QuestionsConfig]]:
    for row in RUNS:
        name = f"{row.data}-qa-middle-{row.pairs}"
        weights = f"videomamba_middle_{row.pairs}_f8_224"
        config = QuestionsConfig(
            preset=name,
            model=ModelSettings(name="videomamba_middle", weights=weights, drop_path=row.drop_path),
            clip=preprocess_of(zoo_entry(weights)).model_copy(update={"num_frames": 12}),
            data=TextDataSettings(format=FORMATS[row.data]),
            augment=Augmentation(crop_area=(0.5, 1.0)),
            optim=Optimisation(
                epochs=row.epochs,
                batch_size=256,
                lr=row.lr,
                min_lr=row.lr / 100,
                warmup_lr=row.lr / 100,
                warmup_epochs=1,
                lr_reference=0,
                weight_decay=0.02,
            ),
            run=Run(out=Path("runs") / name, precision="bf16", micro_batch=32, seed=42),
        )
        notes = (_OF_UMT, *((_LONG,) if row.data == "anet" else ()))
        yield Preset(name, config, Published(source="arXiv 2303.16058 and its code", notes=notes))


QUESTIONS = Catalogue("text train-questions", QuestionsConfig, _presets, columns={})
"""Questions about videos."""
