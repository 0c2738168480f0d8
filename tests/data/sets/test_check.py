"""`videomamba data check`: what it finds, what it prints, how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from videomamba.cli import main
from videomamba.data.sets.check import Problem, Report, Spread, check_dataset
from videomamba.data.settings import DataSettings
from videomamba.schema import VideoMambaError
from videomamba.video.encode import write_video
from videomamba.video.picture import write_png


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of 10 to 15 frames at 5 a second, 16x24 pixels; one that is cut, one that is empty."""
    root = tmp_path_factory.mktemp("videos")
    noise = np.random.default_rng(0).integers(0, 256, (15, 16, 24, 3), np.uint8)
    for i in range(6):
        write_video(root / f"{i}.mp4", noise[: 10 + i], fps=5)
    content = (root / "5.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(content[: len(content) // 2])
    (root / "empty.mp4").touch()
    return root


def lists(root: Path, videos: Path, **texts: str) -> DataSettings:
    for name, text in texts.items():
        (root / f"{name}.csv").write_text("path,label\n" + text.replace("@", f"{videos}/"))
    return DataSettings(root=root)


def kinds(report: Report) -> list[tuple[str, bool, str, str]]:
    return [(p.kind, p.serious, p.split, Path(p.path).name) for p in report.problems]


class TestReport:
    def test_sound(self, tmp_path: Path, videos: Path) -> None:
        settings = lists(tmp_path, videos, train="@0.mp4,run\n@1.mp4,sit\n@2.mp4,run\n", val="@3.mp4,run\n@4.mp4,sit\n")
        done: list[tuple[int, int]] = []
        report = check_dataset(settings, decode=True, workers=2, progress=lambda *counts: done.append(counts))
        train, val = report.splits
        assert (train.split, train.records, train.videos, train.classes) == ("train", 3, 3, (("run", 2), ("sit", 1)))
        assert train.frames == Spread(10, 11, 12)
        assert train.seconds is not None
        assert (train.seconds.lowest, train.seconds.highest) == pytest.approx((2.0, 2.4))
        assert (train.width, train.height) == (Spread(24, 24, 24), Spread(16, 16, 16))
        assert (val.split, val.frames, val.targets) == ("val", Spread(13, 13.5, 14), None)
        assert (report.ok, report.problems) == (True, ())
        assert done == [(i, 5) for i in range(1, 6)]

    def test_missing_and_unreadable(self, tmp_path: Path, videos: Path) -> None:
        settings = lists(
            tmp_path,
            videos,
            train="@0.mp4,run\n@gone.mp4,run\n@empty.mp4,sit\n@cut.mp4,sit\n",
            val="@1.mp4,run\n@2.mp4,sit\n",
        )
        report = check_dataset(settings)
        assert kinds(report) == [
            ("missing", True, "train", "gone.mp4"),
            ("unreadable", True, "train", "empty.mp4"),
            ("unreadable", True, "train", "cut.mp4"),
        ]
        assert report.problems[0].reason.endswith("(train.csv, line 3)")
        assert not report.ok
        assert report.splits[0].frames == Spread(10, 10, 10)

    def test_damage_behind_the_first_picture(self, tmp_path: Path, videos: Path) -> None:
        content = bytearray((videos / "5.mp4").read_bytes())
        middle = content.index(b"mdat") + 2500
        content[middle : middle + 1500] = bytes(1500)
        damaged = tmp_path / "damaged.mp4"
        damaged.write_bytes(content)
        settings = lists(tmp_path, videos, train=f"{damaged},run\n@0.mp4,run\n", val="@1.mp4,run\n")
        assert check_dataset(settings).ok
        assert kinds(check_dataset(settings, decode=True)) == [("unreadable", True, "train", "damaged.mp4")]

    def test_repeats_and_leaks(self, tmp_path: Path, videos: Path) -> None:
        settings = lists(
            tmp_path,
            videos,
            train="@0.mp4,run\n@1.mp4,sit\n@0.mp4,run\n@1.mp4,run\n@2.mp4,sit\n",
            val="@3.mp4,run\n@./2.mp4,sit\n",
            test="@4.mp4,run\n@5.mp4,sit\n",
        )
        report = check_dataset(settings)
        assert kinds(report) == [
            ("duplicate", False, "train", "0.mp4"),
            ("label", True, "train", "1.mp4"),
            ("leak", True, "val", "2.mp4"),
        ]
        assert "train.csv, line 3, train.csv, line 5" in report.problems[1].reason

    def test_the_same_list_twice_is_a_leak(self, tmp_path: Path, videos: Path) -> None:
        text = "@0.mp4,run\n@1.mp4,sit\n"
        report = check_dataset(lists(tmp_path, videos, train=text, val=text))
        assert [kind for kind, *_ in kinds(report)] == ["leak", "leak"]

    def test_spans(self, tmp_path: Path, videos: Path) -> None:
        for name, lines in (
            ("train", ("@0.mp4,0,0,2", "@0.mp4,0,5,6", "@1.mp4,1,0,9", "@1.mp4,1,1,9")),
            ("val", ("@2.mp4,0,0,3", "@3.mp4,1,0,1")),
        ):
            text = "\n".join(("path,label,start,end", *lines)).replace("@", f"{videos}/")
            (tmp_path / f"{name}.csv").write_text(text)
        report = check_dataset(DataSettings(root=tmp_path))
        assert kinds(report) == [("span", True, "train", "0.mp4"), ("span", False, "train", "1.mp4")]
        assert "5 to 6 s is outside the video, which lasts 2.00 s (train.csv, line 3)" in report.problems[0].reason
        assert (report.splits[0].records, report.splits[0].videos) == (4, 2)

    def test_windows_of_an_unreadable_video(self, tmp_path: Path, videos: Path) -> None:
        settings = lists(tmp_path, videos, train="@0.mp4,0\n@gone.mp4,0\n", val="@1.mp4,0\n")
        report = check_dataset(settings.model_copy(update={"window": 1.0, "stride": 1.0}))
        assert kinds(report) == [("missing", True, "train", "gone.mp4")]
        assert report.splits[0].records == 3

    def test_classes(self, tmp_path: Path, videos: Path) -> None:
        report = check_dataset(lists(tmp_path, videos, train="@0.mp4,1\n@1.mp4,2\n", val="@2.mp4,1\n@3.mp4,2\n"))
        assert (
            report.problems[0].reason == "class 0 has no videos: do the labels count from 1? number the classes from 0"
        )
        assert report.problems[1] == Problem("class", False, "val", "", "1 of 3 classes have no videos: class_0")
        report = check_dataset(
            lists(tmp_path, videos, train="@0.mp4,Run fast\n@1.mp4,run_fast\n", val="@2.mp4,run_fast\n")
        )
        assert [p.reason for p in report.problems] == [
            "'Run fast' and 'run_fast' are two classes; is one misspelt?",
            "1 of 2 classes have no videos: Run fast",
        ]
        assert report.ok

    def folders(self, root: Path, videos: Path, *names: str) -> Path:
        """Links to videos below `root`; a name that ends in a slash is an empty folder."""
        for i, name in enumerate(names):
            path = root / name
            if name.endswith("/"):
                path.mkdir(parents=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(videos / f"{i % 5}.mp4")
        return root

    def test_a_class_folder_without_videos(self, tmp_path: Path, videos: Path) -> None:
        names = [f"{name}/{i}.mp4" for name in ("run", "sit") for i in range(3)]
        root = self.folders(tmp_path, videos, *names, "walk/", "val/")
        report = check_dataset(DataSettings(root=root))
        assert [split.records for split in report.splits] == [4, 2]
        assert report.splits[0].classes == (("run", 2), ("sit", 2), ("val", 0), ("walk", 0))
        serious = [(p.kind, p.split, p.path) for p in report.problems if p.serious]
        assert serious == [("class", "train", str(root / "val")), ("class", "train", str(root / "walk"))]
        assert "holds no videos; put some into it or remove the folder" in report.problems[-1].reason

    def test_files_that_are_ignored(self, tmp_path: Path, videos: Path) -> None:
        names = [f"{name}/{i}.mp4" for name in ("run", "sit") for i in range(3)]
        root = self.folders(tmp_path, videos, *names, "loose.mp4", "run/@eaDir/0.mp4/thumb.jpg", "run/clip.mpv")
        (root / "sit" / "gone.mp4").symlink_to("/nowhere/gone.mp4")
        (root / "labels.md").touch()
        report = check_dataset(DataSettings(root=root))
        assert sorted((p.kind, p.serious, Path(p.path).name) for p in report.problems) == [
            ("ignored", False, "clip.mpv"),
            ("ignored", False, "loose.mp4"),
            ("missing", True, "gone.mp4"),
        ]
        assert sum(split.records for split in report.splits) == 7

    def test_a_set_of_test_videos_only(self, tmp_path: Path, videos: Path) -> None:
        root = self.folders(tmp_path, videos, "test/run/0.mp4", "test/sit/1.mp4")
        report = check_dataset(DataSettings(root=root))
        assert [(s.split, s.records, s.classes) for s in report.splits] == [("test", 2, (("run", 1), ("sit", 1)))]
        assert report.ok
        (tmp_path / "list").mkdir()
        listed = lists(tmp_path / "list", videos, test="@0.mp4,run\n@1.mp4,sit\n")
        report = check_dataset(listed)
        assert [(s.split, s.records, s.classes) for s in report.splits] == [("test", 2, (("run", 1), ("sit", 1)))]

    def test_a_class_with_one_video(self, tmp_path: Path, videos: Path) -> None:
        root = self.folders(tmp_path, videos, "run/0.mp4", "run/1.mp4", "sit/2.mp4", "sit/@eaDir/x.mp4")
        report = check_dataset(DataSettings(root=root))
        assert [(s.split, s.records) for s in report.splits] == [("all", 3)]
        (problem,) = report.problems
        assert problem.serious and "is the only video of class 'sit'" in problem.reason
        with pytest.raises(VideoMambaError, match="is the only video of class 'sit'"):
            check_dataset(DataSettings(root=root), ["train"])

    def test_listed_frames(self, tmp_path: Path) -> None:
        for i in range(1, 4):
            (tmp_path / "a").mkdir(exist_ok=True)
            write_png(tmp_path / "a" / f"{i}.png", torch.zeros(8, 10, 3, dtype=torch.uint8))
        (tmp_path / "train.csv").write_text("a 3 0\n")
        (tmp_path / "val.csv").write_text("a 4 0\n")
        (tmp_path / "names.txt").write_text("run\n")
        settings = DataSettings(root=tmp_path, format="ssv2_frames", frame_name="{}.png", labels=tmp_path / "names.txt")
        report = check_dataset(settings, ("train", "val"))
        assert kinds(report) == [("missing", True, "val", "a"), ("leak", True, "val", "a")]
        assert "4.png" in report.problems[0].reason
        assert (report.splits[0].frames, report.splits[0].seconds) == (Spread(3, 3, 3), None)

    def test_regression(self, tmp_path: Path, videos: Path) -> None:
        for name, lines in (("train", "@0.mp4,1\n@1.mp4,5\n"), ("val", "@2.mp4,2\n")):
            (tmp_path / f"{name}.csv").write_text("path,target\n" + lines.replace("@", f"{videos}/"))
        report = check_dataset(DataSettings(root=tmp_path))
        assert (report.splits[0].targets, report.splits[0].classes) == (Spread(1, 3, 5), ())
        assert report.ok

    def test_unlabelled(self, tmp_path: Path, videos: Path) -> None:
        (tmp_path / "train.csv").write_text(f"{videos}/0.mp4\n{videos}/1.mp4\n{videos}/0.mp4\n{videos}/gone.mp4\n")
        (tmp_path / "val.csv").write_text(f"{videos}/1.mp4\n")
        report = check_dataset(DataSettings(root=tmp_path), annotated=False)
        train = report.splits[0]
        assert (train.task, train.records, train.videos, train.classes, train.targets) == ("unlabelled", 4, 3, (), None)
        assert kinds(report) == [
            ("missing", True, "train", "gone.mp4"),
            ("duplicate", False, "train", "0.mp4"),
            ("leak", True, "val", "1.mp4"),
        ]

    def test_bad_workers(self, tmp_path: Path) -> None:
        with pytest.raises(VideoMambaError, match="workers: 0 is too few"):
            check_dataset(DataSettings(root=tmp_path), workers=0)


class TestCommand:
    def run(self, *arguments: str) -> object:
        with pytest.raises(SystemExit) as stop:
            main(["data", "check", *arguments])
        return stop.value.code

    def test_table(self, tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lists(tmp_path, videos, train="@0.mp4,run\n@1.mp4,sit\n", val="@3.mp4,run\n@4.mp4,sit\n")
        assert self.run(str(tmp_path)) == 0
        out, err = capsys.readouterr()
        assert "nothing wrong" in out
        assert "the videos of val are used" in out
        assert any(
            line.split() == ["frames", "10", "/", "10.5", "/", "11", "13", "/", "13.5", "/", "14"]
            for line in out.splitlines()
        )
        assert err == ""

    def test_unlabelled(self, tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for i in range(5):
            (tmp_path / f"{i}.mp4").symlink_to(videos / f"{i}.mp4")
        assert self.run(str(tmp_path)) == 1
        assert "no data set found" in capsys.readouterr().err
        assert self.run(str(tmp_path), "--unlabelled") == 0
        out = capsys.readouterr().out
        rows = [line.split() for line in out.splitlines()]
        assert ["annotations", "unlabelled", "unlabelled"] in rows and ["records", "4", "1"] in rows
        assert "classes" not in out

    def test_problems(self, tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
        many = "".join(f"@gone{i}.mp4,run\n" for i in range(25))
        lists(tmp_path, videos, train=f"@0.mp4,run\n@1.mp4,sit\n{many}", val="@3.mp4,run\n")
        assert self.run(str(tmp_path)) == 1
        out, err = capsys.readouterr()
        assert "25 problems" in out
        assert f"train, missing: {videos}/gone0.mp4: no such file" in err
        assert "... and 5 more of this kind; --json lists all" in err
        assert "note: val, class: 1 of 2 classes have no videos: sit" in err

    def test_json(self, tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lists(tmp_path, videos, train="@0.mp4,run\n@gone.mp4,sit\n", val="@3.mp4,run\n@4.mp4,sit\n")
        assert self.run(str(tmp_path), "--json", "--split", "train", "--decode") == 1
        split, problem = map(json.loads, capsys.readouterr().out.splitlines())
        assert (split["split"], split["classes"]) == ("train", {"run": 1, "sit": 1})
        assert split["frames"] == {"lowest": 10, "median": 10.0, "highest": 10}
        assert (problem["problem"], problem["path"]) == ("missing", f"{videos}/gone.mp4")

    def test_mistakes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for arguments, message in (
            ([str(tmp_path / "nowhere")], "nowhere: no such folder"),
            ([__file__], "is not a folder; name a list of videos with --train, --val or --test\n"),
            ([], "FOLDER: no data set is given; give its folder as FOLDER or its lists as --train\n"),
            (["--val", "absent.csv"], "--val absent.csv: no such file, neither here nor in a root; check the name"),
            ([str(tmp_path)], "give --format or --train, for videos without classes use `videomamba data check --unl"),
            ([str(tmp_path), "--val-fraction", "2"], "--val-fraction 2.0: input should be less than 1"),
            ([str(tmp_path), "--workers", "0"], "workers: 0 is too few"),
        ):
            assert self.run(*arguments) == 1
            err = capsys.readouterr().err
            assert message in err
            assert err.count("\n") == 1
