"""Training by transformers' Trainer and adapters of PEFT."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForVideoClassification, Trainer, TrainingArguments

peft = pytest.importorskip("peft")
pytest.importorskip("accelerate")

# PEFT 0.21 reads a property that transformers 5.24 is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
PROJECTIONS = ("in_proj", "x_proj", "x_proj_b", "dt_proj", "dt_proj_b", "out_proj")


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    pixels = torch.randn(4, 4, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    return {"pixel_values": pixels, "labels": torch.arange(4)}


def test_two_steps_of_lora_lower_the_loss(folder: Path, batch: dict[str, Tensor]) -> None:
    model = AutoModelForVideoClassification.from_pretrained(folder)
    before = model(**batch)
    settings = peft.LoraConfig(r=4, target_modules=list(PROJECTIONS), modules_to_save=["classifier"])
    model = peft.get_peft_model(model, settings).train()
    torch.testing.assert_close(model(**batch).logits, before.logits, atol=1e-4, rtol=1e-4)  # it starts without effect
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trained) == 2 * len(PROJECTIONS) * 2 + 2 and all(
        "lora" in name or "classifier" in name for name, _ in trained
    )
    optimizer = torch.optim.AdamW([parameter for _, parameter in trained], lr=1e-2)
    losses = []
    for _ in range(3):
        loss = model(**batch).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] > losses[1] > losses[2]
    assert all(parameter.grad is not None and parameter.grad.any() for _, parameter in trained)
    with torch.no_grad():
        assert model.eval().merge_and_unload()(**batch).loss < losses[0]


class Records(torch.utils.data.Dataset[dict[str, Tensor]]):
    def __init__(self, batch: dict[str, Tensor]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["labels"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {key: values[index] for key, values in self.batch.items()}


def test_the_trainer_trains_it(folder: Path, batch: dict[str, Tensor], tmp_path: Path) -> None:
    model = AutoModelForVideoClassification.from_pretrained(folder, num_labels=4, ignore_mismatched_sizes=True)
    model.activation_checkpointing_enable()
    assert model.videomamba.network._recomputed_blocks == 2
    arguments = TrainingArguments(
        str(tmp_path / "run"),
        max_steps=6,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model, arguments, train_dataset=Records(batch))
    trainer.train()
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert len(losses) == 6 and losses[-1] < losses[0]
    trainer.save_model(str(tmp_path / "trained"))
    again = AutoModelForVideoClassification.from_pretrained(tmp_path / "trained")
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).loss, model.eval()(**batch).loss)
