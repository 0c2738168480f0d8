"""Lists, folders, splits, classes, windows: what is common to all data sets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from videomamba.data.sets.annotations import own_splits, read_dataset
from videomamba.data.sets.formats.entry import Split
from videomamba.data.sets.symmetry import LEFT_RIGHT, UNLABELLED, swapped_classes
from videomamba.data.settings import DataSettings
from videomamba.schema import Symmetries, VideoMambaError, VideoSet
from videomamba.video.encode import write_video
from videomamba.video.picture import write_png


def names_of(videos: VideoSet) -> list[str]:
    return [Path(record.path).name for record in videos.records]


def labels_of(videos: VideoSet) -> list[int | None]:
    return [record.label for record in videos.records]


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


class TestList:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("train.csv", "a b.mp4,0\nc.mp4,2\n"),
            ("train.csv", "path,label\n\na b.mp4, 0\nc.mp4, 2\n"),
            ("train.csv", '\ufeffLabel,Note,Path\r\n0,"x, y",a b.mp4\r\n2,,c.mp4\r\n'),
            ("train.csv", "a b.mp4;0\nc.mp4;2\n"),
            ("train.csv", "Video Name;Label\na b.mp4;0\nc.mp4;2\n"),
            ("train.csv", "a b.mp4 0\nc.mp4 2\n"),
            ("train.txt", "a b.mp4 0\n\nc.mp4   2\n"),
            ("train.txt", "path label\na b.mp4 0\nc.mp4 2\n"),
            ("train.tsv", "a b.mp4\t0\nc.mp4\t2\n"),
            ("train.tsv", "video\tclass_id\na b.mp4\t0\nc.mp4\t2\n"),
            ("train.jsonl", '{"path": "a b.mp4", "label": 0}\n\n{"file": "c.mp4", "class": 2, "note": null}\n'),
        ],
    )
    def test_every_way_to_write_it(self, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        (tmp_path / "val.csv").write_text("v.mp4,1\n")
        videos = read_dataset(DataSettings(root=tmp_path), "train")
        assert [(r.path, r.label) for r in videos.records] == [
            (str(tmp_path / "a b.mp4"), 0),
            (str(tmp_path / "c.mp4"), 2),
        ]
        assert videos.labels == ("class_0", "class_1", "class_2")
        assert videos.symmetries.mirror is None, "nobody knows what these classes are"

    def test_class_names_are_those_of_the_training_list(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("a.mp4,walk\nb.mp4,jump\n")
        (tmp_path / "val.csv").write_text("c.mp4,walk\n")
        videos = read_dataset(DataSettings(root=tmp_path), "val")
        assert (videos.labels, labels_of(videos), videos.symmetries.mirror) == (("jump", "walk"), [1], (0, 1))
        assert videos.records[0].origin == "val.csv, line 1"

    def test_all_columns(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text(
            "path,label,name,start,end,duration,num_frames\na.mp4,0,sit,1,2.5,9,\nb,1,stand,,,,12\nc.mp4,0,sit,3,,9,\n"
        )
        (tmp_path / "val.csv").write_text("d.mp4,1\n")
        videos = read_dataset(DataSettings(root=tmp_path, frame_name="{:03}.png"), "train")
        assert [record.span for record in videos.records] == [(1, 2.5), None, (3, 9)]
        assert (videos.records[1].num_frames, videos.records[1].frame_name) == (12, "{:03}.png")
        assert videos.labels == ("sit", "stand")

    def test_paths_begin_at_the_list_without_a_root(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text(f"a.mp4,0\n{tmp_path}/other/b.mp4,1\n")
        (tmp_path / "val.csv").write_text("c.mp4,0\n")
        settings = DataSettings(train=tmp_path / "train.csv", val=tmp_path / "val.csv")
        assert [r.path for r in read_dataset(settings, "train").records] == [
            str(tmp_path / "a.mp4"),
            str(tmp_path / "other" / "b.mp4"),
        ]
        assert read_dataset(settings, "test").records == read_dataset(settings, "val").records

    def test_split_column(self, tmp_path: Path) -> None:
        (tmp_path / "annotations.csv").write_text(
            "path,label,split\na.mp4,0,train\nb.mp4,1,validation\nc.mp4,1,train\n"
        )
        settings = DataSettings(root=tmp_path)
        assert names_of(read_dataset(settings, "train")) == ["a.mp4", "c.mp4"]
        assert names_of(read_dataset(settings, "val")) == names_of(read_dataset(settings, "test")) == ["b.mp4"]

    def test_regression(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("path,target\na.mp4,0.5\nb.mp4,-2\n")
        (tmp_path / "val.csv").write_text("path,target\nc.mp4,1\n")
        videos = read_dataset(DataSettings(root=tmp_path), "train")
        assert ([record.target for record in videos.records], videos.labels) == ([0.5, -2.0], ())
        assert videos.regression
        assert videos.symmetries.mirror is None

    def test_labels_file_fixes_the_order(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("a.mp4,turn left\nb.mp4,turn right\nc.mp4,sit\n")
        (tmp_path / "val.csv").write_text("a.mp4,2\n")
        (tmp_path / "names.txt").write_text("turn right\nsit\nturn left\n")
        settings = DataSettings(root=tmp_path, labels=tmp_path / "names.txt")
        videos = read_dataset(settings, "train")
        assert (labels_of(videos), videos.symmetries.mirror) == ([2, 0, 1], (2, 1, 0))
        given = read_dataset(settings, "train", labels=("sit", "turn left", "turn right"))
        assert labels_of(given) == [1, 2, 0], "what the caller knows comes first"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a.mp4,0\nb.mp4\n", r"train\.csv, line 2: has 1 columns, expected path,label; fix the line, or start"),
            (
                "a.mp4,0,9\n",
                r"train\.csv, line 1: has 3 columns, expected path,label; .* start the file with a line that",
            ),
            (
                "path,label\na.mp4,0\nb.mp4,1,2\n",
                r"train\.csv, line 3: has 3 columns, expected path,label; fix the line",
            ),
            ("path,label\na.mp4,\n", r"train\.csv, line 2: there is no label; the columns are path"),
            ("path,label\na.mp4,1\nb.mp4,\n", r"train\.csv, line 3: has no label"),
            ('path,label\n"a.mp4,1\nb.mp4,0\n', r"train\.csv, line 2: cannot be split into columns .*check its quotes"),
            ("path,kind\na.mp4,1\n", r"train\.csv, line 2: there is no label; the columns are path, kind; name one"),
            ("path,label,label\na.mp4,1,1\n", r"train\.csv, line 1: names a column twice"),
            (
                "a.mp4,0.5\nb.mp4,1.5\n",
                r"train\.csv, line 1: label 0\.5 is not a class; for regression start .*path,target",
            ),
            ("path,target\na.mp4,nan\n", r"train\.csv, line 2: the target 'nan' is not a number"),
            ("path,target\na.mp4,1\nb.mp4,x\n", r"train\.csv, line 3: the target 'x' is not a number"),
            ("a.mp4,-1\nb.mp4,0\n", r"train\.csv, line 1: label -1 is below 0; count classes from 0"),
            ("path,label,start,end\na.mp4,0,5,3\n", r"train\.csv, line 2: 5 to 3 s is not a part of a video"),
            ("path,label,start\na.mp4,0,5\n", r"train\.csv, line 2: has a start but neither end nor duration"),
            ("path,label,num_frames\na,0,2.5\n", r"train\.csv, line 2: 2\.5 is not a number of frames"),
            ("path,label,duration\na.mp4,0,0\n", r"train\.csv, line 2: the duration 0 is not above 0"),
            (
                "path,label,name\na.mp4,0,x\nb.mp4,0,y\n",
                r"train\.csv, line 3: class 0 is called y, but x in train\.csv, line",
            ),
            ("path,label,name\na.mp4,0,x\nb.mp4,1,x\n", r"train\.csv, line 2: two classes are called 'x'"),
            ("label,youtube_id,time_start,time_end,split\na,b,0,10,train\n", r"line 2: .*data.format kinetics"),
            ("", r"train\.csv: holds no videos; give one per line"),
            ("path,label\n", r"train\.csv: holds no videos; give one per line"),
            ("clip,label\na.mp4,1\n", r"train\.csv, line 2: there is no path; the columns are clip, label; name one"),
            (
                "a.mp4,0\nb.mp4,1600000000\n",
                r"line 2: label 1600000000 is not a class index; count from 0",
            ),
            ("path,label,num_frames\na,0,30000000\n", r"line 2: 3e\+07 is not a number of frames"),
            ("a.mp4,0\nb\0.mp4,1\n", r"train\.csv: is not UTF-8 text \(null characters\)"),
        ],
    )
    def test_broken(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "train.csv").write_text(text)
        (tmp_path / "val.csv").write_text("v.mp4,0\n")
        with pytest.raises(VideoMambaError, match=message) as caught:
            read_dataset(DataSettings(root=tmp_path), "train")
        assert "\n" not in str(caught.value)

    def test_broken_json(self, tmp_path: Path) -> None:
        for text, message in (
            ('{"path": "a.mp4", "label": 0}\n{"path": \n', r"train\.jsonl, line 2: is not valid JSON"),
            ('["a.mp4", 0]\n', r"train\.jsonl, line 1: is not a JSON object"),
            ('{"path": "a.mp4", "label": 0}\n{"label": 1}\n', r"train\.jsonl, line 2: has no path"),
            ('{"path": "a.mp4", "label": 0}\n{"path": "", "label": 1}\n', r"train\.jsonl, line 2: has no path"),
            ('{"path": "a.mp4", "label": 0}\n{"path": "b.mp4", "label": [1, 2]}\n', r"line 2: has no label"),
        ):
            (tmp_path / "train.jsonl").write_text(text)
            with pytest.raises(VideoMambaError, match=message):
                read_dataset(DataSettings(root=tmp_path), "train")

    def test_not_text(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_bytes(b"\xff\xfe\x00a")
        with pytest.raises(VideoMambaError, match=r"train\.csv: is not UTF-8 text"):
            read_dataset(DataSettings(root=tmp_path), "train")

    def test_labels_that_validation_alone_has(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("a.mp4,0\nb.mp4,1\n")
        (tmp_path / "val.csv").write_text("path,label\nc.mp4,0\nd.mp4,2\n")
        with pytest.raises(VideoMambaError, match=r"val\.csv, line 3: label 2 is not in 0\.\.1"):
            read_dataset(DataSettings(root=tmp_path), "val")
        (tmp_path / "train.csv").write_text("a.mp4,run\nb.mp4,sit\n")
        (tmp_path / "val.csv").write_text("c.mp4,sit\nd.mp4,rum\n")
        with pytest.raises(
            VideoMambaError, match=r"val\.csv, line 2: class 'rum' is not one of the 2 classes .*run, sit"
        ):
            read_dataset(DataSettings(root=tmp_path), "val")
        (tmp_path / "val.csv").write_text("path,target\nc.mp4,0\n")
        with pytest.raises(VideoMambaError, match=r"val\.csv, line 2: has a target where the training list has labels"):
            read_dataset(DataSettings(root=tmp_path), "val")

    def test_labels_file_that_does_not_fit(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("a.mp4,0\nb.mp4,2\n")
        (tmp_path / "val.csv").write_text("c.mp4,0\n")
        settings = DataSettings(root=tmp_path, labels=tmp_path / "names.txt")
        for text, message in (
            ("x\ny\n", r"train\.csv, line 2: label 2 is not in 0\.\.1"),
            ("x\ny\nx\n", r"names\.txt, line 3: 'x' is also in line 1"),
            ("x\n\ny\n", r"names\.txt, line 2: is empty"),
        ):
            (tmp_path / "names.txt").write_text(text)
            with pytest.raises(VideoMambaError, match=message):
                read_dataset(settings, "train")

    def test_validation_alone_needs_class_names(self, tmp_path: Path) -> None:
        (tmp_path / "val.csv").write_text("a.mp4,1\n")
        with pytest.raises(VideoMambaError, match=r"class names come from the training list"):
            read_dataset(DataSettings(val=tmp_path / "val.csv"), "val")
        videos = read_dataset(DataSettings(val=tmp_path / "val.csv"), "val", labels=("run", "sit", "fly"))
        assert (labels_of(videos), len(videos.labels)) == ([1], 3)
        with pytest.raises(VideoMambaError, match=r"has no training videos"):
            read_dataset(DataSettings(val=tmp_path / "val.csv"), "train")

    def test_frame_name(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("path,label,num_frames\na,0,2\n")
        for name in ("image.jpg", "{}{}.jpg", "{:d", "{name}.jpg"):
            with pytest.raises(VideoMambaError, match=r"frame_name: .* needs one place for a number"):
                read_dataset(DataSettings(root=tmp_path, frame_name=name), "train")


class TestUnlabelled:
    """Without annotations a set is neither classification nor regression, and what lists say of videos is ignored."""

    def read(self, root: Path, split: Split = "train", **settings: object) -> VideoSet:
        videos = read_dataset(DataSettings.model_validate({"root": root, **settings}), split, annotated=False)
        assert (videos.task, videos.labels, {record.annotation for record in videos.records}) == (
            "unlabelled",
            (),
            {None},
        )
        return videos

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("train.csv", "a b.mp4\nc.mp4\n"),
            ("train.txt", "path\na b.mp4\nc.mp4\n"),
            ("train.txt", "a b.mp4 0\nc.mp4 12\n"),
            ("train.tsv", "a b.mp4\nc.mp4\n"),
            ("train.csv", "a b.mp4,run\nc.mp4,sit\n"),
            ("train.csv", "path,kind\na b.mp4,1\nc.mp4,\n"),
            ("train.csv", "path,label\na b.mp4,1\nc.mp4,\n"),
            ("train.csv", "path,target\na b.mp4,1.5\nc.mp4,2\n"),
            ("train.jsonl", '{"path": "a b.mp4"}\n{"file": "c.mp4", "label": 2}\n'),
        ],
    )
    def test_lists(self, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        (tmp_path / "val.csv").write_text("v.mp4\n")
        assert names_of(self.read(tmp_path)) == ["a b.mp4", "c.mp4"]
        assert self.read(tmp_path).symmetries == Symmetries((), (), ()), "no class can change"

    def test_any_folder_of_videos(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.mp4", "b.mp4", "walks/c.mp4", "walks/deep/d.webm", "frames/e/1.jpg", "frames/e/2.jpg")
        train, val = (names_of(self.read(tmp_path, split, val_fraction=0.4)) for split in ("train", "val"))
        assert (len(train), len(val)) == (3, 2)
        assert sorted([*train, *val]) == ["a.mp4", "b.mp4", "c.mp4", "d.webm", "e"]
        with pytest.raises(VideoMambaError, match="needs a class or a number for each video, but is unlabelled; give"):
            _ = self.read(tmp_path).outputs

    def test_the_same_videos_are_held_out(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"{name}/{i}.mp4" for name in "ab" for i in range(9)))
        labelled = read_dataset(DataSettings(root=tmp_path), "val")
        assert names_of(self.read(tmp_path, "val")) == names_of(labelled) and len(labelled) == 4

    def test_split_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/1.mp4", "train/deep/2.mp4", "val/3.mp4")
        assert (names_of(self.read(tmp_path)), names_of(self.read(tmp_path, "val"))) == (["1.mp4", "2.mp4"], ["3.mp4"])

    def test_a_labelled_data_set(self, tmp_path: Path) -> None:
        """Its own format is read as always; videos that are never mirrored with their classes are mirrored without them."""
        (tmp_path / "train.csv").write_text("a.mp4,0\nb.mp4,173\n")
        (tmp_path / "val.csv").write_text("c.mp4,0\n")
        videos = self.read(tmp_path, format="ssv2")
        assert (names_of(videos), videos.symmetries) == (["a.mp4", "b.mp4"], UNLABELLED)
        assert read_dataset(DataSettings(root=tmp_path, format="ssv2"), "train").symmetries == Symmetries()

    def test_nothing_there(self, tmp_path: Path) -> None:
        for text, message in (("", "holds no videos"), ("label\n1\n", "there is no path")):
            (tmp_path / "train.csv").write_text(text)
            with pytest.raises(VideoMambaError, match=message):
                self.read(tmp_path)
        (tmp_path / "train.csv").unlink()
        with pytest.raises(VideoMambaError, match="no videos in this folder"):
            self.read(tmp_path)


class TestFolder:
    def test_videos_frames_images(self, tmp_path: Path) -> None:
        touch(tmp_path, "run/b10.mp4", "run/b9.MP4", "run/deep/er/c.webm", "run/.hidden.mp4", "run/notes.txt")
        touch(tmp_path, "sit/clip2/1.jpg", "sit/clip2/2.jpg", "sit/clip10/1.jpg", "sit/loose.jpg")
        touch(tmp_path, "tap/x.png", "tap/y.JPG", "tap/z.jpeg", ".git/x.mp4")
        settings = DataSettings(root=tmp_path)
        train, val = read_dataset(settings, "train"), read_dataset(settings, "val")
        assert train.labels == val.labels == ("run", "sit", "tap")
        paths = [str(Path(r.path).relative_to(tmp_path)) for r in (*train.records, *val.records)]
        assert sorted(paths) == [
            *("run/b10.mp4", "run/b9.MP4", "run/deep/er/c.webm"),
            *("sit/clip10", "sit/clip2", "tap/x.png", "tap/y.JPG", "tap/z.jpeg"),
        ]
        assert labels_of(val) == [0, 1, 2], "one of each class"
        assert train.symmetries.mirror == (0, 1, 2)

    def test_split_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/b/1.mp4", "train/a/1.mp4", "validation/b/2.mp4", "test/a/3.mp4")
        settings = DataSettings(root=tmp_path)
        assert [labels_of(read_dataset(settings, s)) for s in ("train", "val", "test")] == [[0, 1], [1], [0]]
        assert read_dataset(settings, "val").labels == ("a", "b")

    def test_held_out_beside_a_test_folder(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"train/a/{i}.mp4" for i in range(10)), "test/a/t.mp4")
        settings = DataSettings(root=tmp_path)
        assert [len(read_dataset(settings, s)) for s in ("train", "val", "test")] == [8, 2, 1]

    def test_a_folder_beside_split_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"{split}/{name}/1.mp4" for split in ("train", "val") for name in "ab"), "runs/out/1.mp4")
        with pytest.raises(
            VideoMambaError, match="runs is not a split, unlike train and val; move it to another folder"
        ):
            read_dataset(DataSettings(root=tmp_path), "train")

    def test_all_and_own_splits(self, tmp_path: Path) -> None:
        touch(tmp_path, "one/a/1.mp4", "one/b/1.mp4", "cut/train/a/1.mp4", "cut/val/a/2.mp4", "cut/test/a/3.mp4")
        one, cut = DataSettings(root=tmp_path / "one"), DataSettings(root=tmp_path / "cut")
        assert (own_splits(one), own_splits(cut)) == (("train",), ("train", "val", "test"))
        assert labels_of(read_dataset(one, "all")) == [0, 1], "one video of a class is enough"
        assert names_of(read_dataset(cut, "all")) == ["1.mp4", "2.mp4", "3.mp4"]

    def test_a_video_outside_the_classes_is_named(self, tmp_path: Path) -> None:
        touch(tmp_path, "one/a/1.mp4", "one/b/1.mp4", "one/loose.mp4", "one/labels.md")
        touch(tmp_path, "cut/train/a/1.mp4", "cut/val/a/2.mp4", "cut/loose.mp4", "cut/val/image.png")
        for root, places in (("one", ["loose.mp4"]), ("cut", ["loose.mp4", "val/image.png"])):
            ignored = read_dataset(DataSettings(root=tmp_path / root), "all").ignored
            assert [Path(file.path).relative_to(tmp_path / root).as_posix() for file in ignored] == places
            assert {file.reason for file in ignored} == {"is in no folder of a class; move it into one"}

    def test_one_name_in_two_unicode_forms_is_one_class(self, tmp_path: Path) -> None:
        composed, decomposed = "Caf\u00e9", "Cafe\u0301"
        touch(
            tmp_path, f"train/{decomposed}/1.mp4", f"train/{composed}/2.mp4", "train/run/3.mp4", f"val/{composed}/4.mp4"
        )
        settings = DataSettings(root=tmp_path)
        train = read_dataset(settings, "train")
        assert train.labels == (composed, "run") and sorted(map(str, labels_of(train))) == ["0", "0", "1"]
        assert all(Path(record.path).exists() for record in train.records), "paths are as stored"
        assert labels_of(read_dataset(settings, "val")) == [0]
        (tmp_path / "train.csv").write_text(f"a.mp4,{composed}\nb.mp4,{decomposed}\nc.mp4,run\n")
        (tmp_path / "val.csv").write_text(f"d.mp4,{decomposed}\n")
        listed = DataSettings(root=tmp_path, format="list")
        assert labels_of(read_dataset(listed, "train")) == [0, 0, 1]
        assert labels_of(read_dataset(listed, "val", labels=(decomposed, "run"))) == [0]
        (tmp_path / "labels.txt").write_text(f"run\n{decomposed}\n")
        assert labels_of(read_dataset(listed, "val")) == [1]

    def test_a_copy_with_other_unicode_forms_is_divided_alike(self, tmp_path: Path) -> None:
        forms = {"mac": "e\u0301", "other": "\u00e9"}
        for root, form in forms.items():
            touch(tmp_path, *(f"{root}/run/{form}{i}.mp4" for i in range(20)))
        held = [
            {
                Path(r.path).name.replace(form, "")
                for r in read_dataset(DataSettings(root=tmp_path / root), "val").records
            }
            for root, form in forms.items()
        ]
        assert held[0] == held[1] and len(held[0]) == 4

    def test_a_class_called_test(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"{name}/{i}.mp4" for name in ("test", "train", "car") for i in range(2)))
        assert read_dataset(DataSettings(root=tmp_path), "train").labels == ("car", "test", "train")

    def test_errors(self, tmp_path: Path) -> None:
        def fails(message: str, **settings: object) -> None:
            with pytest.raises(VideoMambaError, match=message):
                read_dataset(DataSettings.model_validate({"root": tmp_path, **settings}), "val")

        fails("no data set found; looked for synthetic.json, for a list train.*a folder per class")
        fails("no folders here; make one per class", format="folder")
        fails("nowhere: no such folder", root=tmp_path / "nowhere")
        fails("nowhere: no such folder", root=tmp_path / "nowhere", format="folder")
        fails("no data set is given", root=None)
        fails("format kinetics needs the folder", root=None, format="kinetics")
        fails(r"data\.train lists\.csv: no such file, neither here nor in", train=Path("lists.csv"))
        fails(r"data.train: format folder has no lists", train=Path("lists.csv"), format="folder")
        (tmp_path / "train.json").write_text("[]")
        fails(r"train\.json: is not a list; give \.jsonl", train=Path("train.json"))
        touch(tmp_path, "a/1.mp4", "b/1.mp4", "b/2.mp4")
        fails(r"a/1\.mp4: is the only video of class 'a', but one must be held out")
        fails(r"no list here; looked for train, val, test and annotations", format="list")
        (tmp_path / "c").mkdir()
        assert [file.empty_class for file in read_dataset(DataSettings(root=tmp_path), "all").ignored] == [True]
        touch(tmp_path, "c/1.mp4")
        os.renames(tmp_path / "c", tmp_path / "d" / "val" / "c")
        touch(tmp_path, "d/train/a/1.mp4")
        fails(r"class 'c' is not one of the 1 classes of the training videos \(a\)", root=tmp_path / "d")
        touch(tmp_path, "d/validation/a/1.mp4")
        fails(r"both val and validation hold videos for val", root=tmp_path / "d")


class TestHeldOut:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        touch(tmp_path, *(f"a/{i}.mp4" for i in range(20)), *(f"b/{i}.mp4" for i in range(2)))
        touch(tmp_path, *(f"c/{i}.mp4" for i in range(3)))
        return tmp_path

    def test_share_of_each_class(self, root: Path) -> None:
        for fraction, held, kept in ((0.2, [4, 1, 1], [16, 1, 2]), (0.9, [18, 1, 2], [2, 1, 1])):
            settings = DataSettings(root=root, val_fraction=fraction)
            train, val = read_dataset(settings, "train"), read_dataset(settings, "val")
            assert [labels_of(val).count(i) for i in range(3)] == held
            assert [labels_of(train).count(i) for i in range(3)] == kept
            assert not {r.path for r in train.records} & {r.path for r in val.records}

    def test_seed(self, root: Path) -> None:
        def val(seed: int) -> list[str]:
            return names_of(read_dataset(DataSettings(root=root, split_seed=seed), "val"))

        assert val(0) == val(0)
        assert len({tuple(val(seed)) for seed in range(8)}) > 4
        assert val(0) == ["2.mp4", "6.mp4", "8.mp4", "12.mp4", "0.mp4", "1.mp4"], "the same on every machine"

    def test_moving_and_adding(self, root: Path) -> None:
        before = {str(Path(r.path).relative_to(root)) for r in read_dataset(DataSettings(root=root), "val").records}
        moved = root.rename(root.with_name("moved"))
        touch(moved, *(f"a/new{i}.mp4" for i in range(2)))
        after = {str(Path(r.path).relative_to(moved)) for r in read_dataset(DataSettings(root=moved), "val").records}
        assert len(before - after) <= 2, "the new ones may take the place of as many, no others change"

    def test_parts_of_a_video_stay_together(self, tmp_path: Path) -> None:
        lines = [f"{video}.mp4,{i % 2},{i},{i + 1}" for video in range(6) for i in range(4)]
        (tmp_path / "train.csv").write_text("\n".join(["path,label,start,end", *lines]))
        settings = DataSettings(root=tmp_path, val_fraction=0.3)
        train, val = set(names_of(read_dataset(settings, "train"))), set(names_of(read_dataset(settings, "val")))
        assert (len(train), len(val), train & val) == (4, 2, set())

    def test_one_video_under_two_names(self, tmp_path: Path) -> None:
        lines = [f"{prefix}{video}.mp4,0" for video in range(8) for prefix in ("", "./", "x/../")]
        (tmp_path / "train.csv").write_text("\n".join(lines))
        train, val = (set(names_of(read_dataset(DataSettings(root=tmp_path), s))) for s in ("train", "val"))
        assert (len(train), len(val), train & val) == (6, 2, set())

    def test_mistakes(self, tmp_path: Path) -> None:
        def fails(message: str, *lines: str) -> None:
            (tmp_path / "train.csv").write_text("\n".join(["path,label,start,end", *lines]))
            with pytest.raises(VideoMambaError, match=message):
                read_dataset(DataSettings(root=tmp_path), "train")

        fails(
            r"train\.csv, line 4: .*3\.mp4: is the only video of class 'b'", "1.mp4,a,0,1", "2.mp4,a,0,1", "3.mp4,b,0,1"
        )
        # Of 1 and 2 one is held out, as of 2 and 3, and of 3 and 1: so are both videos of one of the classes.
        classes = enumerate((("a", "12"), ("b", "23"), ("c", "31")))
        parts = [f"{video}.mp4,{name},{i},{i + 1}" for i, (name, of) in classes for video in of]
        fails("all videos of class '[abc]' are held out for other classes that they also show; give a val", *parts)

    def test_regression(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("path,target\n" + "".join(f"{i}.mp4,{i}\n" for i in range(10)))
        settings = DataSettings(root=tmp_path)
        assert (len(read_dataset(settings, "train")), len(read_dataset(settings, "val"))) == (8, 2)


class TestWindows:
    def test_durations_of_the_list_and_of_the_files(self, tmp_path: Path) -> None:
        frames = np.zeros((20, 16, 16, 3), np.uint8)
        write_video(tmp_path / "a.mp4", frames, fps=5)
        (tmp_path / "train.csv").write_text("path,label,duration\na.mp4,0,\nb.mp4,1,3\n")
        (tmp_path / "val.csv").write_text("path,label,start,end\nb.mp4,0,10,12\n")
        settings = DataSettings(root=tmp_path, window=2, stride=1.5)
        videos = read_dataset(settings, "train")
        assert [(Path(r.path).name, r.span) for r in videos.records] == [
            *(("a.mp4", (0, 2)), ("a.mp4", (1.5, 3.5)), ("a.mp4", (3, 4))),
            *(("b.mp4", (0, 2)), ("b.mp4", (1.5, 3))),
        ]
        assert [r.span for r in read_dataset(settings, "val").records] == [(10, 12), (11.5, 12)][:1]

    def test_unreadable(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("a.mp4,0\nb.mp4,1\n")
        (tmp_path / "val.csv").write_text("a.mp4,0\n")
        with pytest.raises(VideoMambaError, match=r"a\.mp4: no such file"):
            read_dataset(DataSettings(root=tmp_path, window=2), "train")
        videos = read_dataset(DataSettings(root=tmp_path, window=2, on_error="skip"), "train")
        assert [record.span for record in videos.records] == [None, None]

    def test_images_have_no_times(self, tmp_path: Path) -> None:
        for name in ("a/x/1.png", "a/y/1.png"):
            (tmp_path / name).parent.mkdir(parents=True)
            write_png(tmp_path / name, torch.zeros(8, 8, 3, dtype=torch.uint8))
        for layout in ("folders of images", "images"):
            with pytest.raises(VideoMambaError, match="images have no times, so no windows"):
                read_dataset(DataSettings(root=tmp_path, window=2), "train")
            if layout == "folders of images":
                (tmp_path / "a" / "x" / "1.png").rename(tmp_path / "a" / "1.png")
                (tmp_path / "a" / "y" / "1.png").rename(tmp_path / "a" / "2.png")
                (tmp_path / "a" / "x").rmdir()
                (tmp_path / "a" / "y").rmdir()

    def test_a_video_of_one_picture_stays_whole(self, tmp_path: Path) -> None:
        write_video(tmp_path / "a.mp4", np.zeros((1, 16, 16, 3), np.uint8), fps=5)
        for name in ("train.csv", "val.csv"):
            (tmp_path / name).write_text("a.mp4,0\n")
        spans = [record.span for record in read_dataset(DataSettings(root=tmp_path, window=2), "train").records]
        assert spans == [None]


class TestSymmetry:
    @pytest.mark.parametrize(
        ("labels", "mirror"),
        [
            (["run", "sit"], (0, 1)),
            (["turn_left", "turn_right", "sit"], (1, 0, 2)),
            (["from left to right", "From right to left"], (1, 0)),
            (["TurnLeft", "turn-right"], (1, 0)),
            (["spin clockwise", "spin counter-clockwise"], (1, 0)),
            (["spin clockwise", "spin anticlockwise"], (1, 0)),
            (["go leftwards", "go rightwards"], (1, 0)),
            (["left1", "right1"], (1, 0)),
            (["turnleft", "turnright", "bright"], (1, 0, 2)),
            (["upright", "leftover"], (0, 1)),
            (["turn left", "sit"], None),
            (["turn left", "turn right", "Turn Right"], None),
            (["links", "rechts"], (0, 1)),
        ],
    )
    def test_names(self, labels: list[str], mirror: tuple[int, ...] | None) -> None:
        assert swapped_classes(labels, LEFT_RIGHT) == mirror


def test_reading_a_long_list_asks_for_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.csv").write_text("".join(f"{i}.mp4,{i % 400}\n" for i in range(2000)))
    (tmp_path / "val.csv").write_text("v.mp4,0\n")
    asked = []
    stat: Callable[..., os.stat_result] = os.stat

    def counting(*arguments: object, **keywords: object) -> os.stat_result:
        asked.append(arguments)
        return stat(*arguments, **keywords)

    monkeypatch.setattr(os, "stat", counting)
    assert len(read_dataset(DataSettings(root=tmp_path), "train")) == 2000
    assert len(asked) < 60


def test_record_of_a_jsonl_line(tmp_path: Path) -> None:
    line = {"video": "a.mp4", "label": "run", "start": 1, "end": 2}
    (tmp_path / "train.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "val.jsonl").write_text(json.dumps(line) + "\n")
    record = read_dataset(DataSettings(root=tmp_path), "train").records[0]
    assert (record.span, record.label, record.origin) == ((1, 2), 0, "train.jsonl, line 1")
