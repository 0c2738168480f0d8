"""What makes the data of a run the same or others, and what a network remembers of its training videos."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from videomamba.data.sets import fingerprint
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.sets.fingerprint import TRAINED_ON, difference, facts, file_keys, trained_on, training_files
from videomamba.data.settings import DataSettings
from videomamba.schema import VideoSet


def write(root: Path, *, each: int = 3) -> Path:
    for label, name in enumerate(("jump", "run")):
        (root / name).mkdir(parents=True)
        for i in range(each):
            (root / name / f"{i}.mp4").write_bytes(b"x" * (10 * label + i + 1))
    return root


def read(root: Path) -> VideoSet:
    return read_dataset(DataSettings(root=root), "all")


def test_moved_or_repaired_data_are_the_same(tmp_path: Path) -> None:
    before = facts(read(write(tmp_path / "a")))
    assert difference(read(tmp_path / "a"), before) == ""
    moved = shutil.copytree(tmp_path / "a", tmp_path / "deep" / "b")
    (moved / "run" / "1.mp4").write_bytes(b"x" * 999)
    assert difference(read(moved), before) == ""


def test_what_differs_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "a")
    before = facts(read(root))
    (root / "run" / "0.mp4").rename(root / "run" / "new.mp4")
    assert difference(read(root), before) == f"other training videos ({root}/run/new.mp4 is new)"
    (root / "run" / "more.mp4").touch()
    assert difference(read(root), before) == f"6 training videos, not 7 ({root}/run/more.mp4 is new)"
    shutil.rmtree(root / "run")
    assert difference(read(root), before) == "2 classes, not 1 ('run' is in one of them only)"


def test_folders_that_changed_their_names_are_other_data(tmp_path: Path) -> None:
    """The paths and the classes are all the same; only the videos have moved."""
    root = write(tmp_path / "a")
    before = facts(read(root))
    (root / "jump").rename(root / "x")
    (root / "run").rename(root / "jump")
    (root / "x").rename(root / "run")
    assert difference(read(root), before) == f"other annotations ({root}/jump/0.mp4 had another)"


def test_millions_of_records_have_one_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "MOST_RECORDS", 3)
    root = write(tmp_path / "a")
    before = facts(read(root))
    assert before.keys() == {"labels", "videos", "all"}
    moved = shutil.copytree(root, tmp_path / "deep" / "b")
    assert difference(read(moved), before) == ""
    (moved / "run" / "0.mp4").rename(moved / "run" / "new.mp4")
    assert difference(read(moved), before) == "other training videos or annotations"
    (moved / "run" / "more.mp4").touch()
    assert difference(read(moved), before) == f"{before['videos']} training videos, not 7"


def test_annotations_and_order_of_a_list(tmp_path: Path) -> None:
    def listed(*lines: str) -> VideoSet:
        (tmp_path / "list.csv").write_text("\n".join(("path,label", *lines)) + "\n")
        return read_dataset(DataSettings(root=tmp_path, train=Path("list.csv")), "all")

    before = facts(listed("a.mp4,0", "b.mp4,1", "c.mp4,1"))
    different = difference(listed("a.mp4,1", "b.mp4,0", "c.mp4,1"), before)
    assert different == f"other annotations ({tmp_path}/a.mp4 had another)"
    assert difference(listed("b.mp4,1", "a.mp4,0", "c.mp4,1"), before) == "the same training videos in another order"


def test_the_record_of_training_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = read(write(tmp_path / "a")), read(write(tmp_path / "b", each=5))
    info = trained_on(first)
    assert training_files(info) == set(file_keys(first.records).values()) and len(info[TRAINED_ON]) < 60
    both = training_files(trained_on(second, before=info[TRAINED_ON]))
    assert both is not None and both >= set(file_keys((*first.records, *second.records)).values())
    moved = shutil.copytree(tmp_path / "a", tmp_path / "c")
    assert set(file_keys(read(moved).records).values()) == training_files(info)
    assert training_files({}) is None and all(
        training_files({TRAINED_ON: text}) is None for text in ("not base64!", "", "AAAAAAAAAAA=")
    )
    monkeypatch.setattr(fingerprint, "MOST_FILES", 5)
    assert trained_on(first) == {} and facts(first)["files"] == ""


def test_keys_of_folders_and_missing_files(tmp_path: Path) -> None:
    for name, count in (("one", 2), ("other", 3)):
        (tmp_path / "jump" / name / "frames").mkdir(parents=True)
        for i in range(count):
            (tmp_path / "jump" / name / "frames" / f"{i}.jpg").write_bytes(b"x")
    (tmp_path / "jump" / "gone.mp4").symlink_to("/nowhere.mp4")
    keys = file_keys(read(tmp_path).records)
    assert {Path(path).parent.name for path in keys} == {"one", "other"} and len(set(keys.values())) == 2
