"""Training on videos and texts: pictures beside videos, every kind of start, the records, the line for every mistake."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.recipes.runs import (
    CLASSES,
    TEXT_TOWER,
    Killed,
    complaint,
    losses,
    make_run,
    same_weights,
    starting_weights,
    tiny_masked,
    tiny_text,
    write_captions,
)
from videomamba import create_model
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import DataSettings
from videomamba.data.text.tokenizer import SPECIAL
from videomamba.models.text import TextConfig, TextTower
from videomamba.recipes.bundles import described_past
from videomamba.recipes.load import load
from videomamba.recipes.pretrain import pretrain
from videomamba.recipes.text.config import VideoTextTrainConfig
from videomamba.recipes.video_text import train_video_text
from videomamba.schema import Preprocess
from videomamba.training.step import Stepper
from videomamba.training.tracking import read_metrics
from videomamba.video.picture import write_png
from videomamba.weights.bundle import save_bundle
from videomamba.weights.video_text import open_video_text

PLAIN: dict[str, Any] = {"model": {"drop_path": 0.0}, "optim": {"ema": None}}
UNMASKED: dict[str, Any] = {
    "teacher": {"weights": None},
    "mask": {"ratio": 0.0},
    "objectives": {"align": 0.0},
}
LOSSES = ("contrastive_loss", "matching_loss", "words_loss", "align_loss")


def steps(out: Path) -> list[dict[str, Any]]:
    return [record for record in read_metrics(out) if record["kind"] == "step"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of eight pictures of one colour each, with captions."""
    root = tmp_path_factory.mktemp("pictures")
    rows = []
    for i in range(8):
        write_png(root / f"{i}.png", torch.full((40, 48, 3), 30 * i, dtype=torch.uint8))
        rows.append({"image": f"{i}.png", "caption": f"a grey picture of shade {'abcdefgh'[i]}"})
    (root / "train.json").write_text(json.dumps(rows))
    return {"root": root, "train": root / "train.json", "workers": 0}


@pytest.fixture(scope="module")
def first(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first stage, masked and with a teacher."""
    out = tmp_path_factory.mktemp("first") / "run"
    settings: dict[str, Any] = {**PLAIN, "augment": {"repeats": 1, "auto_augment": "", "erase": 0}}
    settings["optim"] = {"epochs": 15, "lr": 5e-3, "ema": None}
    make_run(tiny_text(videos, out, **settings))
    return out


def test_each_of_the_four_losses_falls(first: Path) -> None:
    epochs = [record for record in read_metrics(first) if record["kind"] == "epoch"]
    for name in LOSSES:
        assert epochs[-1][name] < epochs[0][name], name
    for record in steps(first):
        assert record["loss"] == pytest.approx(sum(record[name] for name in LOSSES), abs=1e-4)
    assert 0 <= epochs[-1]["val_t2v_r1"] <= 1 and 0 <= epochs[-1]["val_v2t_r1"] <= 1


def test_a_bundle_opens_with_its_vocabulary_and_its_past(first: Path) -> None:
    opened = open_video_text(first / "best.safetensors")
    assert opened.model.config.text.dim == 16 and opened.model.config.teacher_dim == 8
    assert opened.max_length == 32 and opened.tokenizer.vocabulary[:5] == SPECIAL
    assert opened.preprocess.num_frames == 4 and opened.preprocess.clip_seconds is not None
    info = opened.info
    assert info["task"] == "video and text" and info["mask"] == {"name": "attention", "ratio": 0.5}
    assert str(info["validation"]).startswith("text to video ") and str(info["validation"]).endswith("; 0 missed")
    assert "teacher" in info and "trained_on" in info
    assert described_past(info).startswith("video and text (mask attention 0.5, teacher ")


def test_pictures_are_trained_beside_videos(
    videos: Path, pictures: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of one kind; a run that is killed among them resumes bit for bit."""
    seen: list[tuple[str, int, int]] = []
    step = Stepper.step

    def watched(self: Stepper, batches: list[Any], *given: Any, **named: Any) -> Any:
        seen.append((batches[0].medium, batches[0].video.shape[2], len(batches[0].names)))
        return step(self, batches, *given, **named)

    monkeypatch.setattr(Stepper, "step", watched)
    settings = {"images": pictures, "image_mask": {"name": "tube", "ratio": 0.5}}
    trained = make_run(tiny_text(videos, tmp_path / "whole", **settings))
    assert trained.progress.step == 2 * (3 + 2)
    assert sorted(seen) == [("images", 1, 8)] * 4 + [("videos", 4, 8)] * 6
    assert [kind for kind, _, _ in seen[:5]] != [kind for kind, _, _ in seen[5:]]
    make_run(tiny_text(videos, tmp_path / "run", **settings, run={"max_steps": 3}))
    make_run(tiny_text(videos, tmp_path / "run", **settings, run={"max_steps": 7}))
    make_run(tiny_text(videos, tmp_path / "run", **settings))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert same_weights(tmp_path / "run", tmp_path / "whole")


def test_the_second_stage_starts_from_the_first(first: Path, videos: Path, tmp_path: Path) -> None:
    """Without masks and teacher; the text tower and the vocabulary are those of the file."""
    settings = {**PLAIN, **UNMASKED, "model": {"drop_path": 0.0, "weights": str(first / "last.safetensors")}}
    settings["text"] = {**dict.fromkeys(TEXT_TOWER), "embed_dim": 512, "learn_vocabulary": None}
    config = tiny_text(videos, tmp_path / "run", **settings)
    begun = {name.removeprefix("model."): value for name, value in starting_weights(config).items()}
    before = load_file(first / "last.safetensors")
    assert {name for name in before if name not in begun} == {name for name in before if ".clip_decoder." in name}
    assert all(torch.equal(value, before[name]) for name, value in begun.items())
    make_run(config)
    opened = open_video_text(tmp_path / "run" / "last.safetensors")
    assert opened.tokenizer.vocabulary == open_video_text(first / "last.safetensors").tokenizer.vocabulary
    assert opened.model.config.embed_dim == 8 and opened.model.config.teacher_dim == 0
    before_it = opened.info["started_from"]
    assert isinstance(before_it, dict) and before_it["task"] == "video and text"
    assert set(steps(tmp_path / "run")[0]) >= set(LOSSES[:3]) and "align_loss" not in steps(tmp_path / "run")[0]


def test_fine_tuning_for_retrieval_has_no_head_for_words(first: Path, videos: Path, tmp_path: Path) -> None:
    """Clips of another length: positions in time are interpolated."""
    settings = {**PLAIN, **UNMASKED, "model": {"drop_path": 0.0, "weights": str(first / "last.safetensors")}}
    settings["text"] = {**dict.fromkeys(TEXT_TOWER), "embed_dim": 512, "learn_vocabulary": None}
    settings["objectives"] = {"align": 0.0, "words": 0.0}
    settings["clip"] = {"num_frames": 8}
    make_run(tiny_text(videos, tmp_path / "run", **settings))
    opened = open_video_text(tmp_path / "run" / "last.safetensors")
    assert not opened.model.config.words and opened.model.config.video.num_frames == 8
    names = load_file(tmp_path / "run" / "last.safetensors").keys()
    assert not any(name.startswith("text_encoder.cls.") for name in names)


def test_the_video_tower_starts_from_masked_pretraining_or_a_classifier(videos: Path, tmp_path: Path) -> None:
    pretrain(tiny_masked(videos, tmp_path / "masked", optim={"epochs": 1, "warmup_epochs": 0}))
    masked = tmp_path / "masked" / "last.safetensors"
    torch.manual_seed(3)
    fields = {"num_classes": 3, "num_frames": 4, "image_size": 32, "tubelet_size": 2, "pool": "mean", "init": "fan_in"}
    network = create_model("videomamba_micro", depth=2, dim=16, **fields)
    classifier = save_bundle(
        tmp_path / "c.safetensors", network, Preprocess(num_frames=4, image_size=(32, 32)), CLASSES
    )
    for path in (masked, classifier):
        settings: dict[str, Any] = {"model": {"weights": str(path)}}
        begun = starting_weights(tiny_text(videos, tmp_path / path.stem / "run", **settings))
        before = load_file(path)
        tower = {name.removeprefix("model.vision_encoder."): value for name, value in begun.items()}
        shared = [name for name in before if not name.startswith("head.")]
        assert all(torch.equal(tower[name], before[name]) for name in shared)
        assert "layers.1.norm.weight" in shared and (path == classifier or "clip_decoder.0.head.weight" in shared)


def test_the_text_tower_starts_from_a_bert(videos: Path, tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "bert")
    text = {
        **dict.fromkeys(TEXT_TOWER),
        "embed_dim": 8,
        "learn_vocabulary": None,
        "weights": str(folder),
        "fusion_from": 2,
    }
    config = tiny_text(videos, tmp_path / "run", text=text)
    begun, bert = starting_weights(config), load_file(folder / "model.safetensors")
    assert all(torch.equal(begun[f"model.text_encoder.{name}"], value) for name, value in bert.items())
    assert any(".2.crossattention." in name for name in begun)
    make_run(tiny_text(videos, tmp_path / "run", text=text, run={"max_steps": 1}))
    assert open_video_text(tmp_path / "run" / "last.safetensors").model.config.text.heads == 2
    assert complaint(tiny_text(videos, tmp_path / "other", text={**text, "depth": 4})) == (
        f"text.depth: is 4, and {folder} has 3; leave it out"
    )


def write_bert(folder: Path) -> Path:
    """What transformers saves of a tiny BERT, with its vocabulary; the cross-attention is not part of it."""
    words = [*SPECIAL, "the", "first", "second", "third", "person", "to", "for", "time", *CLASSES]
    torch.manual_seed(4)
    config = TextConfig(vocab_size=len(words), dim=16, depth=3, heads=2, hidden_dim=32, fusion_from=3, max_positions=40)
    folder.mkdir()
    save_file(TextTower(config, memory_dim=16).state_dict(), folder / "model.safetensors")
    fields = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    fields |= {"vocab_size": len(words), "max_position_embeddings": 40}
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **fields}))
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    return folder


def test_a_resumed_run_has_the_vocabulary_of_its_start(videos: Path, tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("".join(f"{word}\n" for word in (*SPECIAL, "the", "person", *CLASSES)))
    text = {"learn_vocabulary": None, "vocabulary": str(vocabulary)}
    make_run(tiny_text(videos, tmp_path / "run", text=text, run={"max_steps": 1}))
    vocabulary.write_text("".join(f"{word}\n" for word in (*SPECIAL, "the", "person", "first", *CLASSES)))
    make_run(tiny_text(videos, tmp_path / "run", text=text, run={"max_steps": 2}))
    assert len(open_video_text(tmp_path / "run" / "last.safetensors").tokenizer) == 10


def test_without_a_mask_the_teacher_is_compared_everywhere(videos: Path, tmp_path: Path) -> None:
    make_run(tiny_text(videos, tmp_path / "run", mask={"ratio": 0.0}, run={"max_steps": 1}))
    assert 1 < steps(tmp_path / "run")[0]["align_loss"] < 3


def test_a_mask_needs_no_alignment_and_no_teacher(videos: Path, tmp_path: Path) -> None:
    settings = {**UNMASKED, "mask": {"name": "tube", "ratio": 0.5}}
    make_run(tiny_text(videos, tmp_path / "tube", **settings, run={"max_steps": 1}))
    attended = {"objectives": {"align": 0.0}, "run": {"max_steps": 1}}  # the teacher for the mask alone
    make_run(tiny_text(videos, tmp_path / "attended", **attended))
    for name in ("tube", "attended"):
        assert math.isfinite(steps(tmp_path / name)[0]["loss"]) and "align_loss" not in steps(tmp_path / name)[0]


def test_micro_batches_are_each_others_negatives(videos: Path, tmp_path: Path) -> None:
    """So the contrastive loss of smaller ones is lower, and all other losses are the same."""
    settings = {**PLAIN, "text": {"dropout": 0.0}}
    make_run(tiny_text(videos, tmp_path / "whole", **settings, run={"max_steps": 1}))
    make_run(tiny_text(videos, tmp_path / "parts", **settings, run={"max_steps": 1, "micro_batch": 2}))
    (whole,), (parts,) = steps(tmp_path / "whole"), steps(tmp_path / "parts")
    assert parts["contrastive_loss"] < whole["contrastive_loss"] - 0.1
    for name in ("matching_loss", "align_loss"):
        assert parts[name] == pytest.approx(whole[name], abs=1e-5)


WRONG = [
    ({"text": {"learn_vocabulary": None}}, "text.weights: missing; name a BERT such as bert-base-uncased, or learn a"),
    ({"text": {"weights": "x"}}, "text.learn_vocabulary: text.weights x has a vocabulary; give one of the two"),
    ({"text": {"heads": 3}}, "text: dim 16 must be a multiple of heads 3"),
    ({"text": {"fusion_from": 9}}, "text: fusion_from 9 must be at most the depth 3"),
    ({"text": {"fusion_from": 3}}, "text.fusion_from: 3 of 3 layers leave none that reads the video, which"),
    ({"text": {"learn_vocabulary": None, "vocabulary": "absent.txt"}}, "absent.txt: no such file"),
    ({"teacher": {"weights": None}}, "teacher.weights: missing, which objectives.align needs"),
    ({"objectives": {"align": 0.0}, "mask": {"ratio": 0.0}}, "teacher.weights: "),
    ({"teacher": {"weights": None}, "objectives": {"align": 0.0}}, "mask.name: attention is that of a teacher; choose"),
    ({"teacher": {"cache": True}}, "teacher.cache: is not offered with texts"),
    ({"mask": {"name": "tube", "ratio": 0.1}}, "mask.ratio: 0.1 of 4 patches masks nothing"),
    ({"objectives": {"negatives": 3}}, "objectives.negatives: 3 does not divide optim.batch_size 4"),
    ({"model": {"num_registers": 2}}, "model.num_registers: a video tower beside a text tower has no registers"),
    ({"optim": {"layer_decay": 0.7}}, "optim.layer_decay: is not offered with a text tower; set it to 1"),
    ({"optim": {"batch_size": 40}}, "optim.batch_size: is 40 for 12 training videos; lower it"),
    ({"optim": {"batch_size": 1}}, "optim.batch_size: 1 pair has no other to be compared with"),
    ({"run": {"micro_batch": 1}}, "run.micro_batch: 1 pair has no other to be compared with"),
    ({"align": {"layers": 4}}, "align.layers: 4 layers, every 1, are not in a network of 2 layers"),
    ({"data": {"train": None}}, "data"),
    ({"model": {"weights": "absent.safetensors"}}, "absent.safetensors: no such file"),
]


@pytest.mark.parametrize(("sections", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_mistake_is_one_line(sections: dict[str, Any], message: str, videos: Path, tmp_path: Path) -> None:
    assert complaint(tiny_text(videos, tmp_path / "run", **sections)).startswith(message)
    assert not (tmp_path / "run").exists()


def test_the_sizes_and_vocabulary_of_a_model_are_its_own(first: Path, videos: Path, tmp_path: Path) -> None:
    weights = str(first / "last.safetensors")
    model = {"weights": weights}
    assert complaint(tiny_text(videos, tmp_path / "run", model=model)) == (
        f"text.learn_vocabulary: {weights} has a text tower and its vocabulary; leave text.learn_vocabulary out"
    )
    text = {"learn_vocabulary": None, "dim": 32}
    assert complaint(tiny_text(videos, tmp_path / "run", model=model, text=text)) == (
        f"text.dim: is 32, and {weights} has 16; leave it out"
    )
    assert f"{first} would write over model.weights" in complaint(
        tiny_text(videos, first, model=model, text={"learn_vocabulary": None})
    )


def test_the_settings_of_a_run_are_those_of_its_file(first: Path) -> None:
    config = load(VideoTextTrainConfig, first / "config.yaml")
    assert config.objectives.negatives == 2 and config.text.dim == 16 and config.clip.clip_seconds is not None


def test_captions_are_in_the_order_of_the_classes(videos: Path) -> None:
    """Which the tests of several processes rely on."""
    for split, path in write_captions(videos).items():
        records = read_dataset(DataSettings(root=videos), split).records  # type: ignore[arg-type]
        assert [str(videos / row["video"]) for row in json.loads(path.read_text())] == [one.path for one in records]


def test_a_caption_is_chosen_anew_in_each_epoch(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[list[int]]] = []

    def look(self: Stepper, batches: list[Any], *_: object, **__: object) -> None:
        seen.append(batches[0].ids.tolist())
        raise Killed

    monkeypatch.setattr(Stepper, "step", look)
    config = tiny_text(videos, tmp_path / "run")
    for _ in range(2):
        with pytest.raises(Killed):
            train_video_text(config)
    assert seen[0] == seen[1]  # the same draws in every attempt
    assert len({tuple(row) for row in seen[0]}) >= 4
