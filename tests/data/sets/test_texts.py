"""Lists of videos with texts in every format, and their faults."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.video.test_shards import write_tar
from videomamba.data.loading.loader import TrainLoader
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.sets.texts import caption_ids, media_ids, read_texts, read_with_losses, text_splits
from videomamba.data.settings import Augmentation, DataSettings, TextDataSettings
from videomamba.schema import (
    Captions,
    Choices,
    Preprocess,
    Question,
    Symmetries,
    VideoMambaError,
    VideoRecord,
    VideoSet,
)
from videomamba.training.draws import Draws
from videomamba.video.encode import write_video

PAIRS = [("a.mp4", "A man's dog, running"), ("b/c.webm", 'She says "3.5"'), ("a.mp4", "Second caption")]
PLAIN = ["a mans dog running", "she says 35", "second caption"]


def write(root: Path, name: str, content: object) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def captions(video_set: VideoSet) -> dict[str, tuple[str, ...]]:
    return {
        record.path: record.annotation.texts for record in video_set.records if isinstance(record.annotation, Captions)
    }


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write_list(root: Path, kind: str) -> str:
    objects = [{"video": video, "caption": caption} for video, caption in PAIRS]
    if kind in ("csv", "tsv", "headless"):
        name = "train.tsv" if kind == "tsv" else "train.csv"
        with (root / name).open("w", newline="", encoding="utf-8") as file:
            if kind == "tsv":
                file.write("video\tcaption\n" + "".join(f"{video}\t{caption}\n" for video, caption in PAIRS))
            else:
                csv.writer(file).writerows(PAIRS if kind == "headless" else [("video", "caption"), *PAIRS])
        return "line"
    if kind == "jsonl":
        write(root, "train.jsonl", "\n\n".join(map(json.dumps, objects)) + "\n")
        return "line"
    if kind == "sqlite":
        with sqlite3.connect(root / "train.sqlite") as base:
            base.execute("CREATE TABLE annos (id INTEGER PRIMARY KEY, filename TEXT, caption TEXT)")
            base.executemany(
                "INSERT INTO annos VALUES (?, ?, ?)", [(2 - i, *pair) for i, pair in enumerate(PAIRS[::-1])]
            )
        base.close()
        return "entry"
    write(root, "train.json", json.dumps(objects, indent=2))
    return "entry"


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "headless", "tsv", "sqlite"])
def test_every_kind_of_list_gives_the_same_records(tmp_path: Path, kind: str) -> None:
    unit = write_list(tmp_path, kind)
    video_set = read_texts(TextDataSettings(root=tmp_path), "train", task="captions")
    assert [r.path for r in video_set.records] == [str(tmp_path / video) for video, _ in PAIRS]
    assert [r.annotation for r in video_set.records] == [Captions((text,)) for text in PLAIN]
    assert (video_set.task, video_set.labels, len(video_set)) == ("captions", (), 3)
    assert f", {unit} " in video_set.records[1].origin
    assert video_set.symmetries == Symmetries(mirror=())
    assert media_ids(video_set).tolist() == [0, 1, 0]
    raw = read_texts(TextDataSettings(root=tmp_path, clean=False), "train", task="captions")
    assert captions(raw)[str(tmp_path / "b/c.webm")] == ('She says "3.5"',)


def test_records_are_a_sequence(tmp_path: Path) -> None:
    write_list(tmp_path, "json")
    settings = TextDataSettings(root=tmp_path, first_seconds=30)
    one, other = (read_texts(settings, "train", task="captions") for _ in range(2))
    records = one.records
    assert records[-1] == records[2] == tuple(records)[2] and records[1:] == tuple(records)[1:]
    assert records[0].span == (0, 30)
    assert one == other and hash(one) == hash(other) and records == other.records
    assert one != read_texts(TextDataSettings(root=tmp_path), "train", task="captions")
    with pytest.raises(IndexError, match="record 3 of 3"):
        records[3]
    assert repr(records) == "TextRecords(3 with Captions)"


def test_columns_are_compact(tmp_path: Path) -> None:
    many = [{"video": f"{i:06d}.mp4", "caption": f"a caption of some words number {i:06d}"} for i in range(2000)]
    write(tmp_path, "train.json", many)
    records = read_texts(TextDataSettings(root=tmp_path), "train", task="captions").records
    assert records.nbytes / len(records) < len("000000.mp4" + "a caption of some words number 000000") + 41  # type: ignore[attr-defined]


def test_several_captions_paragraph_and_several_videos(tmp_path: Path) -> None:
    entries = [
        {"video": "a.mp4", "caption": ["One, two.", "...", "Three"]},
        {"video": "b.mp4", "caption": "plain text"},
        {"caption": "Pushing [something]", "video": ["c.webm", "d.webm"]},
    ]
    write(tmp_path, "train.json", entries)
    each = read_texts(TextDataSettings(root=tmp_path), "train", task="captions")
    assert [r.annotation.texts for r in each.records] == [  # type: ignore[union-attr]
        ("one two", "three"),
        ("plain text",),
        ("pushing [something]",),
        ("pushing [something]",),
    ]
    assert media_ids(each).tolist() == [0, 1, 2, 3] and caption_ids(each).tolist() == [0, 1, 2, 2]
    joined = read_texts(TextDataSettings(root=tmp_path, captions="paragraph"), "train", task="captions")
    assert [r.annotation.texts for r in joined.records][:2] == [("one two three",), ("plain text",)]  # type: ignore[union-attr]
    separate = read_texts(TextDataSettings(root=tmp_path, captions="separate"), "train", task="captions")
    assert [r.annotation.texts for r in separate.records][:3] == [("one two",), ("three",), ("plain text",)]  # type: ignore[union-attr]
    assert media_ids(separate).tolist() == [0, 0, 1, 2, 3]


def test_questions_and_choices(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_questions.json",
        [
            {"video": "a.mp4", "question": "What's this?", "answer": "Ice-cream", "question_id": 7},
            {"video": "a.mp4", "question": "How many?", "answer": ["2", "", "two"]},
        ],
    )
    write(tmp_path, "test_choices.json", [{"video": "a.mp4", "caption": ["A.", "b", "c"], "answer": 2}])
    settings = TextDataSettings(root=tmp_path)
    questions = read_texts(settings, "test", task="questions")
    assert [r.annotation for r in questions.records] == [
        Question("whats this", ("Ice-cream",)),
        Question("how many", ("2", "two")),
    ]
    choices = read_texts(settings, "val", task="choices")  # without a list of its own
    assert (choices.name, choices.task) == ("val", "choices")
    assert choices.records[0].annotation == Choices(("a", "b", "c"), 2)


def test_texts_that_cleaning_loses_are_reported(tmp_path: Path) -> None:
    entries = [
        {"video": "a.mp4", "caption": "..."},
        {"video": "b.mp4", "caption": ["?!", "fine"]},
        {"video": "c.mp4", "caption": None, "text": "other"},
    ]
    write(tmp_path, "train.json", entries[:2])
    video_set, losses = read_with_losses(TextDataSettings(root=tmp_path), "train", task="captions")
    assert captions(video_set) == {str(tmp_path / "b.mp4"): ("fine",)}
    assert [str(file) for file in video_set.ignored] == [
        f"{tmp_path}/a.mp4: has only empty texts after cleaning (train.json, entry 1)"
    ]
    assert [(loss.origin, loss.text) for loss in losses] == [
        ("train.json, entry 1", "..."),
        ("train.json, entry 2", "?!"),
    ]
    write(tmp_path, "train.json", entries[:1])
    with pytest.raises(VideoMambaError, match=r"train\.json: holds no captions \(.*a\.mp4: has only empty"):
        read_texts(TextDataSettings(root=tmp_path), "train", task="captions")


@pytest.mark.parametrize(
    ("text", "sided"),
    [
        ("It moves Left", True),
        ("brightly lit leftovers", False),
        ("turns counter-clockwise", True),
        ("rightwards", True),
    ],
)
def test_sides_in_texts_forbid_mirroring(tmp_path: Path, text: str, sided: bool) -> None:
    write(tmp_path, "train.json", [{"video": "a.mp4", "caption": "x"}, {"video": "b.mp4", "caption": text}])
    video_set = read_texts(TextDataSettings(root=tmp_path), "train", task="captions")
    assert (video_set.symmetries.mirror is None) == sided


def test_lists_are_joined_and_ids_stay_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(
            tmp_path / name, "list.json", [{"video": "1.mp4", "caption": name}, {"image": "2.jpg", "caption": "both"}]
        )
    settings = TextDataSettings(
        train=tmp_path / "one/list.json", also=(tmp_path / "two/list.json", tmp_path / "one/list.json"), first_seconds=5
    )
    video_set = read_texts(settings, "train", task="captions")
    assert [r.path.removeprefix(f"{tmp_path}/") for r in video_set.records[:4]] == [
        *("one/1.mp4", "one/2.jpg", "two/1.mp4", "two/2.jpg")
    ]
    assert media_ids(video_set).tolist() == [0, 1, 2, 3, 0, 1]
    assert [r.span for r in video_set.records[:2]] == [(0, 5), None]
    assert text_splits(settings, "captions") == ("train",)
    with pytest.raises(VideoMambaError, match=r"data\.val: there is no list of captions, only for train"):
        read_texts(settings, "val", task="captions")
    plain = VideoSet("s", tuple(VideoRecord(path, Captions(("x",))) for path in ("a", "./a", "b")))
    assert media_ids(plain).tolist() == [0, 0, 1] and caption_ids(plain).tolist() == [0, 0, 0]


def test_bare_ids_get_the_ending_of_their_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.mkv", "videos/b.c.webm", "frames/1.jpg")
    names = ["a", "b.c", "frames", "gone"]
    write(tmp_path, "test.json", dict.fromkeys(names, "text"))
    video_set = read_texts(TextDataSettings(root=tmp_path), "test", task="captions")
    found = [r.path.removeprefix(f"{tmp_path}/") for r in video_set.records]
    assert found == ["a.mkv", "videos/b.c.webm", "frames", "gone.mp4"]


def test_folders_that_synth_writes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / split, "captions.json", [{"video": "videos/0.mp4", "caption": ["a", "b"]}])
        write(tmp_path / split, "questions.json", [{"video": "videos/0.mp4", "question": "q", "answer": "a"}])
    settings = TextDataSettings(root=tmp_path)
    assert text_splits(settings, "questions") == ("train", "test")
    assert captions(read_texts(settings, "test", task="captions")) == {f"{tmp_path}/test/videos/0.mp4": ("a", "b")}
    alone = TextDataSettings(root=tmp_path / "train")
    assert captions(read_texts(alone, "train", task="captions")) == {f"{tmp_path}/train/videos/0.mp4": ("a", "b")}


class TestPublished:
    def test_msrvtt_official(self, tmp_path: Path) -> None:
        facts = {
            "info": {},
            "videos": [
                *({"video_id": "video1", "split": "train"}, {"video_id": "video2", "split": "validate"}),
                {"video_id": "video3", "split": "test"},
            ],
            "sentences": [
                {"video_id": video, "caption": f"{video} {i}", "sen_id": i}
                for i in range(2)
                for video in ("video1", "video2")
            ]
            + [{"video_id": "video3", "caption": "third"}],
        }
        write(tmp_path / "annotation", "MSRVTT_data.json", facts)
        touch(tmp_path, "TrainValVideo/video1.mp4", "TrainValVideo/video2.mp4", "TestVideo/video3.avi")
        settings = TextDataSettings(root=tmp_path, format="msrvtt")
        folder = tmp_path / "TrainValVideo"
        assert captions(read_texts(settings, "train", task="captions")) == {
            f"{folder}/video1.mp4": ("video1 0", "video1 1")
        }
        assert captions(read_texts(settings, "val", task="captions")) == {
            f"{folder}/video2.mp4": ("video2 0", "video2 1")
        }
        assert captions(read_texts(settings, "test", task="captions")) == {
            f"{tmp_path}/TestVideo/video3.avi": ("third",)
        }
        write(tmp_path, "MSRVTT_train.9k.csv", "video_id\nvideo1\nvideo2\n")
        write(tmp_path, "MSRVTT_data.json", facts)
        write(tmp_path, "MSRVTT_JSFUSION_test.csv", 'key,vid_key,video_id,sentence\nret0,msr3,video3,"a, b"\n')
        assert len(read_texts(settings, "train", task="captions")) == 2
        assert captions(read_texts(settings, "test", task="captions")) == {f"{tmp_path}/TestVideo/video3.avi": ("a b",)}
        assert text_splits(settings, "captions") == ("train", "test")  # val videos are in the 9k

    def test_msrvtt_lists(self, tmp_path: Path) -> None:
        touch(tmp_path, "videos/all/video7.mp4")
        write(tmp_path, "msrvtt_ret_train9k.json", [{"video": "video7.mp4", "caption": c} for c in "ab"])
        write(tmp_path, "msrvtt_ret_test1k.json", [{"video": "video7.mp4", "caption": "c"}])
        write(tmp_path, "msrvtt_mc_test.json", [{"video": "video7.mp4", "caption": [*"abcde"], "answer": 4}])
        write(tmp_path, "train_qa.json", [{"video_id": 7, "id": 1, "question": "Q?", "answer": "a", "category_id": 3}])
        write(tmp_path, "msrvtt_qa_test.csv", "video_id,question,answer\nvideo7,q,a\n")
        settings, path = TextDataSettings(root=tmp_path, format="msrvtt"), f"{tmp_path}/videos/all/video7.mp4"
        for split, task in (("train", "captions"), ("test", "captions"), ("test", "choices"), ("train", "questions")):
            video_set = read_texts(settings, split, task=task)  # type: ignore[arg-type]
            assert {record.path for record in video_set.records} == {path}
        assert read_texts(settings, "test", task="questions").records[0].annotation == Question("q", ("a",))
        with pytest.raises(VideoMambaError, match=r"data\.train: there is no list of choices, only for test"):
            read_texts(settings, "train", task="choices")

    def test_didemo(self, tmp_path: Path) -> None:
        moments = [{"video": f"{v}.mov", "description": f"{v} {i}", "times": [[0, 1]]} for i in range(2) for v in "xy"]
        write(tmp_path, "train_data.json", moments)
        write(tmp_path, "didemo_ret_test.json", [{"video": "x.mp4", "caption": ["One.", "Two."]}])
        touch(tmp_path, "videos/x.mov", "videos/y.mp4")
        settings = TextDataSettings(root=tmp_path, format="didemo", captions="paragraph", first_seconds=30)
        train = read_texts(settings, "train", task="captions")
        assert captions(train) == {f"{tmp_path}/videos/x.mov": ("x 0 x 1",), f"{tmp_path}/videos/y.mp4": ("y 0 y 1",)}
        assert train.records[0].span == (0, 30)
        assert captions(read_texts(settings, "test", task="captions")) == {f"{tmp_path}/videos/x.mov": ("one two",)}

    def test_activitynet(self, tmp_path: Path) -> None:
        facts = {"duration": 9.5, "timestamps": [[0, 4], [3, 9]], "sentences": ["A man sits. ", " He stands."]}
        write(tmp_path, "val_1.json", {"v_id-1": facts})
        write(tmp_path, "anet_ret_train.json", [{"video": "v_2.mp4", "caption": ["a", "b"]}])
        touch(tmp_path, "val/v_id-1.mkv")
        settings = TextDataSettings(root=tmp_path, format="activitynet", captions="paragraph")
        for split in ("val", "test"):
            assert captions(read_texts(settings, split, task="captions")) == {  # type: ignore[arg-type]
                f"{tmp_path}/val/v_id-1.mkv": ("a man sits he stands",)
            }

    def test_lsmdc(self, tmp_path: Path) -> None:
        name = "0001_Film_00.00.51.926-00.00.54.129"
        times = "00.00.51.926\t00.00.54.129\t00.00.51.000\t00.00.54.500"
        write(tmp_path, "LSMDC16_annos_training.csv", f'{name}\t{times}\tSOMEONE says "hi.\n')
        touch(tmp_path, f"avi/0001_Film/{name}.avi")
        settings = TextDataSettings(root=tmp_path, format="lsmdc")
        assert captions(read_texts(settings, "train", task="captions")) == {
            f"{tmp_path}/avi/0001_Film/{name}.avi": ("someone says hi",)
        }

    def test_msvd(self, tmp_path: Path) -> None:
        write(tmp_path, "AllVideoDescriptions.txt", "# comment\nid_1_5 a cat\nid_2_9 a dog\n\nid_1_5 a cat sits\n")
        write(tmp_path, "train_list.txt", "id_1_5\n")
        write(tmp_path, "test_list.txt", "id_2_9\n")
        touch(tmp_path, "YouTubeClips/id_1_5.avi", "YouTubeClips/id_2_9.avi")
        settings = TextDataSettings(root=tmp_path, format="msvd")
        folder = tmp_path / "YouTubeClips"
        assert captions(read_texts(settings, "train", task="captions")) == {
            f"{folder}/id_1_5.avi": ("a cat", "a cat sits")
        }
        assert captions(read_texts(settings, "test", task="captions")) == {f"{folder}/id_2_9.avi": ("a dog",)}
        with pytest.raises(VideoMambaError, match="the captions of MSVD describe the same video"):
            read_texts(TextDataSettings(root=tmp_path, format="msvd", captions="paragraph"), "test", task="captions")
        write(tmp_path, "val_list.txt", "other\n")
        with pytest.raises(VideoMambaError, match=r"val_list\.txt: none of its videos has captions"):
            read_texts(settings, "val", task="captions")


class TestFaults:
    @pytest.mark.parametrize(
        ("name", "content", "line"),
        [
            ("t.json", "[1]", "t.json, entry 1: is not an object"),
            (
                "t.json",
                '[{"video": "a", "caption": "b"}, {"video": "a"}]',
                "t.json, entry 2: has no caption; its keys are video",
            ),
            ("t.json", '[{"video": "a", "caption": "b"},', "t.json, entry 2: is not valid JSON"),
            ("t.json", '[{"video": "a", "caption": "b"}', "t.json: breaks off after entry 1"),
            ("t.json", '[{"video": "a", "caption": "b"}]\n{}', "t.json: goes on after its list"),
            ("t.json", '{"a": ', "t.json: is not valid JSON"),
            ("t.json", '"text"', "t.json: is neither a list"),
            ("t.json", "[]", "t.json: holds no captions"),
            ("t.json", "[" * 100_000, "t.json, entry 1: is not valid JSON"),
            ("t.json", '[{"caption": "b"}]', "t.json, entry 1: has no video or image; its keys are caption"),
            ("t.json", '[{"video": 1.5, "caption": "b"}]', "t.json, entry 1: 1.5 is not the name of a file"),
            ("t.json", '[{"video": "a\\u0000", "caption": "b"}]', "entry 1: 'a\\x00' is not the name of a file"),
            ("t.json", '[{"video": [], "caption": "b"}]', "t.json, entry 1: names no video"),
            ("t.json", '[{"video": "a\\ud800.mp4", "caption": "b"}]', "'a\\ud800.mp4' is not the name of a file"),
            ("t.json", f'[{{"video": "{"a" * 300}", "caption": "b"}}]', "is longer than the name of any file"),
            ("t.json", '[{"video": "a", "caption": NaN}]', "t.json, entry 1: a caption is nan, not text"),
            ("t.json", '[{"video": "a", "caption": {}}]', "t.json, entry 1: a caption is dict, not text"),
            ("t.json", '[{"video": "a", "caption": "\\ud800"}]', "entry 1: a caption holds half a character"),
            (
                "t.json",
                '[{"video": "a", "caption": ["a", "b"], "answer": 1}]',
                "a list for multiple choice, not of captions",
            ),
            ("t.json", '[{"video": "a", "question": "q", "answer": 1}]', "it is a list of questions, not of captions"),
            ("t.json", '[{"video": "a", "caption": "b", "start": 3, "end": 1}]', "3 to 1 s is not a part of a video"),
            ("t.jsonl", '{"video": "a", "caption": "b"}\n{', "t.jsonl, line 2: is not valid JSON"),
            ("t.csv", "video,caption\na,b,c\n", "t.csv, line 2: has 3 columns, expected video,caption"),
            ("t.csv", "a,b,c\n", "t.csv, line 1: has 3 columns, expected video,caption or video,caption"),
            ("t.csv", 'video,caption\na,"b\n', "t.csv, line 2: cannot be split into columns"),
            ("t.csv", "video,caption\na,\n", "t.csv, line 2: has no caption; its keys are video"),
            ("t.csv", "video,caption,caption\na,b,c\n", "t.csv, line 1: names a column twice"),
            ("t.csv", "a b\n", "t.csv, line 1: has 1 column, expected video,caption"),
            ("t.tsv", "a,b\n", "separate them by tabs"),
            ("t.txt", "only_id\n", "t.txt, line 1: has no caption after the name of the video"),
            ("t.sqlite", "no database", "t.sqlite: cannot be read as SQLite (file is not a database)"),
            ("t.xml", "<a/>", "t.xml: is no list; give one of .json"),
        ],
    )
    def test_one_line_names_the_place(self, tmp_path: Path, name: str, content: str, line: str) -> None:
        write(tmp_path, name, content)
        with pytest.raises(VideoMambaError) as caught:
            read_texts(TextDataSettings(root=tmp_path, train=Path(name)), "train", task="captions")
        assert line in str(caught.value) and "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("task", "entry", "line"),
        [
            ("questions", {"video": "a", "question": "q"}, "has no answer"),
            ("questions", {"video": "a", "question": "q", "answer": [" "]}, "has no answer; give at least one"),
            ("choices", {"video": "a", "caption": "b", "answer": 0}, "a list of at least two sentences"),
            ("choices", {"video": "a", "caption": ["b", "c"], "answer": 2}, "answer 2 is not in 0..1"),
            ("choices", {"video": "a", "caption": ["b", "c"], "answer": "c"}, "'c' is not the number of a sentence"),
            ("choices", {"video": "a", "caption": ["b", "c"]}, "has no answer"),
        ],
    )
    def test_wrong_answers(self, tmp_path: Path, task: str, entry: Mapping[str, object], line: str) -> None:
        write(tmp_path, "train.json", [entry])
        with pytest.raises(VideoMambaError, match=line):
            read_texts(TextDataSettings(root=tmp_path), "train", task=task)  # type: ignore[arg-type]

    def test_settings(self, tmp_path: Path) -> None:
        def refusal(**settings: object) -> str:
            with pytest.raises(VideoMambaError) as caught:
                read_texts(TextDataSettings(**settings), "train", task="captions")  # type: ignore[arg-type]
            return str(caught.value)

        assert "data.root: no data set is given" in refusal()
        assert "no list of captions here; looked for {train,val,test,captions}" in refusal(root=tmp_path)
        assert "looked for msrvtt_ret_train9k.json, " in refusal(root=tmp_path, format="msrvtt")
        assert "no such folder" in refusal(root=tmp_path / "no")
        assert "data.also x.json: no such file" in refusal(root=tmp_path, also=(Path("x.json"),))
        assert "data.format kinetics: has classes, not texts" in refusal(root=tmp_path, format="kinetics")
        assert "data.window: videos with texts" in refusal(root=tmp_path, window=3.0)
        assert "data.labels x.txt: videos with texts have no classes" in refusal(root=tmp_path, labels=Path("x.txt"))
        assert "data.task scene: videos with texts have no classes" in refusal(root=tmp_path, task="scene")
        with pytest.raises(VideoMambaError, match=r"data\.format msrvtt: has texts, not classes"):
            read_dataset(DataSettings(root=tmp_path, format="msrvtt"), "train")
        with pytest.raises(ValidationError):
            TextDataSettings(captions="all")  # type: ignore[arg-type]

    def test_space_after_a_comma(self, tmp_path: Path) -> None:
        write(tmp_path, "train.csv", 'video, caption\na.mp4, "A dog, running"\n')
        found = read_texts(TextDataSettings(root=tmp_path), "train", task="captions")
        assert captions(found) == {f"{tmp_path}/a.mp4": ("a dog running",)}

    def test_sqlite_tables(self, tmp_path: Path) -> None:
        for name, statement, reason in (
            ("a.db", "CREATE TABLE other (id)", "has no table annos"),
            ("b.db", "CREATE TABLE annos (id, caption)", "has a table annos of 2 columns"),
        ):
            with sqlite3.connect(tmp_path / name) as base:
                base.execute(statement)
            base.close()
            with pytest.raises(VideoMambaError, match=f"{name}: {reason}"):
                read_texts(TextDataSettings(train=tmp_path / name), "train", task="captions")


class TestShards:
    @pytest.fixture
    def shards(self, tmp_path: Path) -> Path:
        noise = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
        write_video(tmp_path / "v.mp4", noise, fps=4)
        video = (tmp_path / "v.mp4").read_bytes()
        folder = tmp_path / "shards"
        folder.mkdir()
        for number in range(2):
            content = {}
            for key in range(2):
                content[f"{number}{key}.mp4"] = video
                content[f"{number}{key}.txt"] = f"Caption {number}, {key}.".encode()
            write_tar(folder / f"s-{number}.tar", content)
        return folder

    def test_pairs_reach_the_loader(self, shards: Path) -> None:
        settings = TextDataSettings(root=shards, train=Path("s-{0..1}.tar"), workers=0)
        video_set = read_texts(settings, "train", task="captions")
        paths = [f"{shards}/s-{number}.tar::{number}{key}.mp4" for number in range(2) for key in range(2)]
        assert captions(video_set) == {path: (f"caption {path[-6]} {path[-5]}",) for path in paths}
        assert video_set.records[1].origin == "s-0.tar, pair 2"
        assert read_texts(TextDataSettings(root=shards), "train", task="captions") == video_set
        assert read_texts(TextDataSettings(train=shards), "train", task="captions") == video_set
        with TrainLoader(
            video_set,
            preprocess=Preprocess(num_frames=2, image_size=(16, 16)),
            augmentation=Augmentation(),
            data=settings,
            draws=Draws(0),
            batch_size=4,
        ) as loader:
            ((batch,),) = loader.epoch(0)
        assert batch.video.shape == (4, 3, 2, 16, 16) and sorted(batch.records) == [0, 1, 2, 3]
        assert (batch.labels, batch.targets, batch.failures) == (None, None, ())

    def test_what_is_no_pair_is_ignored(self, shards: Path) -> None:
        video = (shards.parent / "v.mp4").read_bytes()
        content = {
            "a.mp4": video,
            "a.json": b'{"caption": ["One", "Two"], "start": "x"}',
            "alone.txt": b"no media",
            "silent.mp4": video,
            "broken.mp4": video,
            "broken.json": b"{",
            "latin.mp4": video,
            "latin.txt": b"\xff",
            "long.mp4": video,
            "long.txt": b"x" * ((1 << 20) + 1),
            "two.mp4": video,
            "two.jpg": b"x",
            "two.txt": b"first of two",
            "code.pickle": b"cos\nsystem\n(S'false'\ntR.",
            "code.mp4": video,
        }
        write_tar(shards / "odd.tar", content)
        video_set = read_texts(TextDataSettings(train=shards / "odd.tar"), "train", task="captions")
        assert captions(video_set) == {
            f"{shards}/odd.tar::a.mp4": ("one", "two"),
            f"{shards}/odd.tar::two.mp4": ("first of two",),
        }
        reasons = {file.path.rpartition("::")[2]: file.reason for file in video_set.ignored}
        assert reasons["alone.txt"] == "has no video or image beside it"
        assert reasons["two.jpg"] == "two.mp4 is read instead; give each its own key"
        assert reasons["silent.mp4"] == reasons["code.mp4"].replace("code", "silent")
        assert "there is no silent.txt beside it" in reasons["silent.mp4"]
        assert "broken.json is not valid JSON" in reasons["broken.mp4"]
        assert "not UTF-8" in reasons["latin.mp4"] and "1048577 bytes" in reasons["long.mp4"]

    def test_damage_stops_or_is_noted(self, shards: Path) -> None:
        file = shards / "s-1.tar"
        file.write_bytes(file.read_bytes()[:-11_000])
        settings = TextDataSettings(root=shards)
        with pytest.raises(VideoMambaError, match=r"s-1\.tar: is (cut short|damaged)"):
            read_texts(settings, "train", task="captions")
        kept = read_texts(settings.model_copy(update={"on_error": "skip"}), "train", task="captions")
        assert len(kept) == 3 and any(one.path == str(file) for one in kept.ignored)
        write_tar(shards / "s-1.tar", {"a.txt": b"x"})
        with pytest.raises(VideoMambaError, match=r"s-1\.tar: holds no pair of a video or image and its text"):
            read_texts(settings, "train", task="captions")
        with pytest.raises(VideoMambaError, match=r"data\.train .*s-2\.tar: no such file"):
            read_texts(TextDataSettings(train=shards / "s-{0..2}.tar"), "train", task="captions")
