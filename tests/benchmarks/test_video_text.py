"""The benchmark of video and text: its lists, and what it makes of the results of the commands."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from videomamba.data.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def video_text() -> ModuleType:
    return importlib.import_module("video_text")


def test_the_lists_name_existing_videos_and_the_vocabulary_has_whole_words(
    video_text: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_text, "RENDERED", {"num_frames": 8, "height": 64, "width": 64, "crf": 40})
    sizes = video_text.Sizes(train=2, test=1, distinct=16, masked=1, unmasked=1, longer=1, questions=1)
    bench = video_text.Benchmark(tmp_path, sizes, processes=1, seed=0)
    bench.write_data()
    lists = sorted(path.name for path in bench.data.glob("*.json"))
    assert {"train_captions.json", "val_captions_held_out.json", "test_captions_distinct_16.json"} <= set(lists)
    for name in lists:
        records = json.loads((bench.data / name).read_text())
        assert records and all((bench.data / record["video"]).is_file() for record in records)
        folder = name.split("_")[0].replace("all", "train")
        assert all(record["video"].startswith(folder + "/") for record in records)
    half, every = (json.loads((bench.data / f"{which}_captions.json").read_text()) for which in ("train", "all"))
    assert half == every[: len(every) // 2] and len(half) == 16
    assert set(bench.kinds.values()) <= set(video_text.KINDS) and len(bench.kinds) > 10
    tokenizer = Tokenizer.read(bench.data / "vocab.txt")
    assert "clockwise" in tokenizer.vocabulary and "background" in tokenizer.vocabulary


def test_chance_of_questions_is_that_of_their_kind(video_text: ModuleType) -> None:
    def asked(question: str, right: str, given: str) -> dict[str, object]:
        return {"path": "a.mp4", "question": question, "answers": [right], "given": given}

    result = {
        "accuracy": 0.75,
        "num_questions": 4,
        "answers": [
            asked("what happens", "growing", "growing"),
            asked("what happens", "shrinking", "growing"),
            asked("what colour is the disc", "red", "red"),
            asked("what colour is the ring", "red", "red"),
        ],
    }
    kinds = {"what happens": "action", "what colour is the disc": "colour", "what colour is the ring": "colour"}
    total, colour, action = video_text.answers(result, kinds)
    assert (total.value, total.chance) == (75.0, 75.0)
    assert (colour.what, colour.value, colour.chance) == ("colour", 100.0, 100.0)
    assert (action.what, action.value, action.chance) == ("action", 50.0, 50.0)


def test_the_losses_are_those_of_the_first_and_the_last_tenth(video_text: ModuleType, tmp_path: Path) -> None:
    records = [{"kind": "step", "step": i, "matching_loss": 0.6 - 0.01 * i} for i in range(20)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (row,) = video_text.losses(tmp_path, 64)
    assert row.what == "matching loss" and row.value == pytest.approx(0.415)
    assert row.note == "0.595 at the start" and row.chance == pytest.approx(0.6365, abs=1e-4)
