"""The presets for questions against the table of UMT-B/16, whose numbers are written out here a second time."""

from __future__ import annotations

import pytest

from videomamba.recipes.text.questions_config import check_questions
from videomamba.recipes.text.questions_presets import QUESTIONS
from videomamba.training.optim import scaled_rates
from videomamba.weights.zoo import zoo_entry

TABLE = {
    "anet": {"5m": (4e-5, 12, 0.2), "17m": (4e-5, 12, 0.2), "25m": (4e-5, 12, 0.2)},
    "msrvtt": {"5m": (2e-5, 8, 0.2), "17m": (2e-5, 8, 0.2), "25m": (2e-5, 8, 0.4)},
    "msvd": {"5m": (2e-5, 15, 0.2), "17m": (2e-5, 15, 0.2), "25m": (6e-5, 6, 0.2)},
}
"""Rate, epochs, drop path."""


def test_every_data_set_from_every_released_network() -> None:
    assert list(QUESTIONS.presets) == [f"{data}-qa-middle-{pairs}" for data, runs in TABLE.items() for pairs in runs]
    assert {row["starts from"] for row in QUESTIONS.table()} == {
        f"videomamba_middle_{pairs}_f8_224" for pairs in ("5m", "17m", "25m")
    }


@pytest.mark.parametrize("name", list(QUESTIONS.presets))
def test_the_runs_are_those_of_the_table(name: str) -> None:
    config = QUESTIONS[name].config
    optim, clip, augment = config.optim, config.clip, config.augment
    data, _, _, pairs = name.split("-")
    lr, epochs, drop_path = TABLE[data][pairs]
    rates = scaled_rates(optim, augment.repeats)
    assert (rates.peak, rates.minimum) == pytest.approx((lr, lr / 100))
    assert (optim.epochs, optim.warmup_epochs, optim.batch_size, optim.weight_decay) == (epochs, 1, 256, 0.02)
    assert (config.model.drop_path, clip.num_frames, clip.image_size) == (drop_path, 12, (224, 224))
    assert (clip.resize, clip.sampling, config.run.seed) == ("stretch", "segments", 42)
    assert config.data.format == {"anet": "activitynet", "msrvtt": "msrvtt", "msvd": "msvd"}[data]
    assert (config.text.max_length, config.answer.max_length, config.answer.shortlist) == (25, 5, 128)
    assert (augment.crop, augment.crop_area, augment.flip) == ("area", (0.5, 1.0), "auto")
    assert config.model.weights is not None and zoo_entry(config.model.weights).kind == "multimodal"
    check_questions(config.model_copy(update={"data": config.data.model_copy(update={"root": "data"})}))


def test_the_notes_say_whose_settings_they_are() -> None:
    for name, made in QUESTIONS.presets.items():
        said = " ".join(made.published.notes)
        assert "published neither numbers nor settings" in said and made.published.top1 is None
        assert ("tests with 32 frames" in said) == name.startswith("anet")
