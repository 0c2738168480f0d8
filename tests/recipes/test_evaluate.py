"""Evaluation: classes by name, one answer per file, nothing left out in silence, one clear line for what does not fit."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.recipes.runs import CLASSES, tiny, write_videos
from tests.video.clips import Recipe, draw, encode
from videomamba import create_model
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import DataSettings
from videomamba.evaluation.results import ClassificationResult, RegressionResult
from videomamba.recipes.classify import train
from videomamba.recipes.evaluate import evaluate
from videomamba.recipes.testing import Result
from videomamba.schema import VideoMambaError
from videomamba.serving.predictor import Predictor
from videomamba.weights.bundle import save_bundle
from videomamba.weights.pretrained import open_pretrained

ANOTHER_ORDER = (2, 0, 1)


def network_file(
    path: Path,
    labels: Sequence[str],
    *,
    order: Sequence[int] = (0, 1, 2),
    outputs: int = 3,
    task: str = "classification",
) -> Path:
    """A random network of definite answers; output i is that of class order[i]."""
    config = tiny(path, path)
    torch.manual_seed(0)
    model = create_model("videomamba_micro", **{**config.network(), "num_classes": outputs})  # type: ignore[arg-type]
    torch.nn.init.normal_(model.head.weight, std=3)
    if outputs == 3:
        model.head.weight.data = model.head.weight.data[list(order)]
    return save_bundle(path, model, config.clip, labels, {"task": task})


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_file(tmp_path_factory.mktemp("weights") / "named.safetensors", CLASSES)


def run(weights: Any, root: Path, *, data: dict[str, object] | None = None, **more: Any) -> ClassificationResult:
    result = measure(weights, root, data=data, **more)
    assert isinstance(result, ClassificationResult)
    return result


def measure(weights: Any, root: Path, *, data: dict[str, object] | None = None, **more: Any) -> Result:
    settings = DataSettings.model_validate({"root": root, "workers": 0, "val_fraction": 0.9, **(data or {})})
    return evaluate(weights, settings, device="cpu", **{"split": "test", **more})


def complaint(weights: Any, root: Path, **more: Any) -> str:
    with pytest.raises(VideoMambaError) as caught:
        measure(weights, root, **more)
    text = str(caught.value)
    assert "\n" not in text
    return text


def answers(result: ClassificationResult) -> dict[tuple[str, str], int]:
    """How often a video of one class was taken for another, by their names."""
    names = result.labels
    return {(names[i], names[j]): int(result.confusion[i, j]) for i, j in np.argwhere(result.confusion).tolist()}


def test_the_answers_are_those_of_predict(named: Path, videos: Path) -> None:
    result = run(named, videos)
    assert (result.num_videos, result.num_missed) == (12, 0)
    predictor = Predictor.from_pretrained(named)
    for mistake in result.mistakes:
        top = predictor(mistake.path, top=1).top
        assert top.label == CLASSES[mistake.answer] and top.score == pytest.approx(mistake.score, abs=1e-5)
    assert len(result.mistakes) == 12 - result.correct1 > 0 and len(answers(result)) > 3


def test_classes_are_found_by_name_in_whatever_order(named: Path, videos: Path, tmp_path: Path) -> None:
    labels = [CLASSES[i] for i in ANOTHER_ORDER]
    other = run(network_file(tmp_path / "other.safetensors", labels, order=ANOTHER_ORDER), videos)
    assert other.labels == tuple(labels)
    assert answers(other) == answers(run(named, videos))


def test_given_names_complete_or_replace_those_of_the_file(named: Path, videos: Path, tmp_path: Path) -> None:
    labels = [CLASSES[i] for i in ANOTHER_ORDER]
    expected = answers(run(named, videos))
    nameless = network_file(tmp_path / "nameless.safetensors", (), order=ANOTHER_ORDER)
    misnamed = network_file(tmp_path / "misnamed.safetensors", CLASSES, order=ANOTHER_ORDER)
    for file in (nameless, open_pretrained(misnamed)):
        assert answers(run(file, videos, labels=labels)) == expected
    assert answers(run(nameless, videos)) != expected  # by number
    for wrong in ([], CLASSES[:2]):
        text = complaint(named, videos, labels=wrong)
        assert text.startswith(f"{named}: {len(wrong)} class names for a model with 3 classes; ")


def test_some_of_the_classes_may_be_tested_alone(named: Path, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / CLASSES[1])
    whole, part = run(named, videos), run(named, tmp_path / "two")
    assert part.labels == CLASSES and part.num_videos == 8
    assert answers(part) == {pair: n for pair, n in answers(whole).items() if pair[0] != CLASSES[1]}


def test_files_of_one_name_in_two_folders_are_two_videos(named: Path, videos: Path) -> None:
    """The original merges scores by the name of the file, and so takes all `0.mp4` for one video."""
    assert len({path.name for path in videos.rglob("*.mp4")}) == 5
    assert run(named, videos, split="train").num_videos == 3
    assert run(named, videos).num_videos == 12


def measured(weights: Path, root: Path, **more: Any) -> tuple[int, str]:
    """How many videos are measured by default, and what is said about them."""
    lines: list[str] = []
    result = run(weights, root, split="auto", notify=lines.append, **more)
    return result.num_videos, lines[-1]


def test_videos_of_the_training_are_not_measured_unless_asked(
    reference: Path, videos: Path, tmp_path: Path, named: Path
) -> None:
    weights = reference / "last.safetensors"
    number, line = measured(weights, videos)
    assert number == 3 and line.startswith(
        "measuring the held-out part, 3 videos: the other 12 were in the training of "
    )
    moved = shutil.copytree(videos, tmp_path / "moved")
    for i in range(5, 8):
        shutil.copy(videos / CLASSES[0] / "0.mp4", moved / CLASSES[0] / f"new{i}.mp4")
    assert measured(weights, moved)[0] == 6
    assert run(weights, moved, split="all").num_videos == 18
    lines: list[str] = []
    run(weights, videos, split="train", data={"val_fraction": 0.2}, notify=lines.append)
    (line,) = lines
    assert "the training split, 12 videos: 12 of them were in the training" in line
    assert line.endswith("so the accuracy is too high")
    number, line = measured(named, videos)
    assert number == 15 and "does not record its training videos" in line
    for path in (r.path for r in read_dataset(DataSettings(root=videos), "val").records):
        (moved / Path(path).relative_to(videos)).unlink()
    for path in moved.rglob("new*"):
        path.unlink()
    assert f"{weights}: was trained on every video of this data set" in complaint(weights, moved, split="auto")


def test_all_of_a_folder_that_was_never_trained_on(reference: Path, videos: Path, tmp_path: Path) -> None:
    for i, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        shutil.copy(videos / name / f"{i}.mp4", tmp_path / name / "single.mp4")
    (tmp_path / CLASSES[0] / "notes.txt").touch()
    lines: list[str] = []
    weights = reference / "last.safetensors"
    assert run(weights, tmp_path, split="auto", notify=lines.append).num_videos == 3
    assert lines == [
        f"ignored {tmp_path / CLASSES[0] / 'notes.txt'}: does not end like a video (.txt)",
        f"measuring all 3 videos: none of them is known to have been in the training of {weights}",
    ]


def test_a_test_split_is_measured_where_there_is_one(named: Path, videos: Path, tmp_path: Path) -> None:
    for split, part in (("train", CLASSES), ("test", CLASSES[:2])):
        for name in part:
            (tmp_path / split / name).mkdir(parents=True)
            shutil.copy(videos / name / "0.mp4", tmp_path / split / name / f"{split}.mp4")
    number, line = measured(named, tmp_path)
    assert number == 2 and line.startswith("measuring the test split, 2 videos: ")
    shutil.rmtree(tmp_path / "train")
    assert measured(named, tmp_path)[0] == 2


def test_training_before_is_remembered(reference: Path, videos: Path, tmp_path: Path) -> None:
    """Fine-tuning on a second data set: the videos of the first were in the training too."""
    other = write_videos(tmp_path / "other", each=3)
    for path in list(other.rglob("*.mp4")):
        path.rename(path.with_stem(f"other{path.stem}"))
    config = tiny(other, tmp_path / "run", model={"weights": str(reference / "last.safetensors")})
    train(config)
    assert measured(tmp_path / "run" / "last.safetensors", videos)[0] == 3


def test_windows_of_a_video_are_merged(named: Path, videos: Path, tmp_path: Path) -> None:
    for i, name in enumerate(CLASSES):
        (tmp_path / "val" / name).mkdir(parents=True)
        pictures = [draw(i + frame, (32, 48)) for frame in range(60)]
        encode(tmp_path / "val" / name / "long.mp4", Recipe(".mp4", "libx264", size=(32, 48)), pictures=pictures)
    (tmp_path / "val" / CLASSES[0] / "short.mp4").symlink_to(videos / CLASSES[0] / "0.mp4")
    result = run(named, tmp_path, data={"window": 1.0, "stride": 1.0})
    assert result.num_videos == 4 and "windows" in result.protocol


def test_a_video_that_cannot_be_read_is_a_miss(named: Path, videos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(videos, tmp_path / "videos")
    before = run(named, root, split="val")
    broken = sorted((root / CLASSES[0]).iterdir())
    for path in broken:
        path.write_text("not a video")
    result = run(named, root)
    assert (result.num_videos, result.num_missed) == (12, 4)
    assert {path for path, _ in result.failures} <= {str(path) for path in broken} and len(result.failures) == 4
    assert result.per_class[0].missed == 4 and result.per_class[0].accuracy == 0
    assert answers(result) == {pair: n for pair, n in answers(before).items() if pair[0] != CLASSES[0]}
    assert "4 missed and counted as wrong" in str(result)


def test_views_are_those_of_the_protocol_unless_given(named: Path, videos: Path) -> None:
    published = replace(open_pretrained(named), views="2x3")
    assert run(published, videos, split="train").protocol.startswith("2 clips x 3 crops, ")
    assert run(named, videos, split="train").protocol.startswith("1 clip x 1 crop, ")
    assert run(published, videos, split="train", views="1x1").protocol.startswith("1 clip x 1 crop, ")
    assert "views '3'" in complaint(named, videos, views="3")


def test_products_in_bf16_answer_nearly_the_same(named: Path, videos: Path) -> None:
    assert abs(run(named, videos, precision="bf16").correct1 - run(named, videos).correct1) <= 2


def test_progress_is_told(named: Path, videos: Path) -> None:
    told: list[tuple[int, int]] = []
    run(named, videos, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.fixture
def number(tmp_path: Path) -> Path:
    return network_file(tmp_path / "number.safetensors", (), outputs=1, task="regression")


@pytest.fixture
def numbered(videos: Path, tmp_path: Path) -> Path:
    rows = [f"{path},{i / 4}" for i, path in enumerate(sorted(videos.rglob("*.mp4")))]
    (tmp_path / "list").mkdir()
    for split in ("train", "val"):
        (tmp_path / "list" / f"{split}.csv").write_text("\n".join(["path,target", *rows]) + "\n")
    return tmp_path / "list"


def test_regression_has_errors(number: Path, numbered: Path) -> None:
    result = measure(number, numbered, views="1x3")
    assert isinstance(result, RegressionResult) and result.num_videos == 15
    network = open_pretrained(number)
    predictor = Predictor(network.model, network.preprocess, ["number"])
    for estimate in result.estimates[:2]:
        by_view = predictor.logits(predictor.clips(estimate.path, views="1x3"))
        assert estimate.value == pytest.approx(by_view.mean().item(), abs=1e-5)
    assert result.mse == pytest.approx(np.mean([e.error**2 for e in result.estimates]))


def test_classes_and_numbers_do_not_meet(named: Path, number: Path, videos: Path, numbered: Path) -> None:
    assert complaint(named, numbered).startswith(f"{named}: answers with 3 classes, the data set has numbers; ")
    assert complaint(number, videos).startswith(f"{number}: answers with a number, the data set has 3 classes; ")


def test_classes_that_do_not_fit(named: Path, videos: Path, tmp_path: Path) -> None:
    unknown = shutil.copytree(videos, tmp_path / "unknown")
    (unknown / CLASSES[1]).rename(unknown / "walk")
    assert f"{unknown / 'walk'}" in complaint(named, unknown)
    more = shutil.copytree(videos, tmp_path / "more")
    shutil.copytree(more / CLASSES[1], more / "walk")
    assert f"{more / 'walk'}" in complaint(named, more)
    fewer = shutil.copytree(videos, tmp_path / "fewer")
    shutil.rmtree(fewer / CLASSES[0])
    nameless = network_file(tmp_path / "nameless.safetensors", ())
    text = complaint(nameless, fewer)
    assert text.startswith(f"{nameless}: has 3 classes, the data set 2 classes; give the network's class names")


def test_what_is_not_there(named: Path, videos: Path, tmp_path: Path) -> None:
    assert "gone" in complaint(named, tmp_path / "gone")
    assert "gone.safetensors" in complaint(tmp_path / "gone.safetensors", videos)


def test_arguments_of_another_kind() -> None:
    with pytest.raises(ValueError, match="split must be one of auto, all, train, val, test, got 'tets'"):
        evaluate("videomamba_micro_synthetic", "folder", split="tets")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write the network to one with videomamba\.save"):
        evaluate(torch.nn.Linear(1, 1), "folder")  # type: ignore[arg-type]
