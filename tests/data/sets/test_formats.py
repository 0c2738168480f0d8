"""Every published data set, in the exact form in which it comes, small."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from videomamba.data.sets.annotations import read_dataset
from videomamba.data.sets.formats.breakfast_coin import BREAKFAST_ACTIONS
from videomamba.data.sets.formats.lvu import NUM_CLASSES
from videomamba.data.settings import DataSettings, Format
from videomamba.schema import VideoMambaError, VideoSet
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.dataset import reversed_action, write_dataset


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def write(file: Path, *lines: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def read(root: Path, format: Format, split: str = "train", **settings: object) -> VideoSet:
    return read_dataset(DataSettings.model_validate({"root": root, "format": format, **settings}), split)


def paths_of(videos: VideoSet, root: Path) -> list[str]:
    return [Path(record.path).relative_to(root).as_posix() for record in videos.records]


def labels_of(videos: VideoSet) -> list[int | None]:
    return [record.label for record in videos.records]


class TestKinetics:
    HEADER = "label,youtube_id,time_start,time_end,split"

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        write(
            tmp_path / "train.csv",
            self.HEADER,
            "testifying,---QUuC4vJs,84,94,train",
            '"massaging person\'s head",-0ccKKdWFKs,0,10,train',
            "abseiling,-3B32lodo2M,59,69,train",
            "abseiling,-7kbO0v4hag,1107,1117,train",
        )
        write(tmp_path / "validate.csv", self.HEADER, "testifying,vvv,5,15,validate", "abseiling,www,6,16,validate")
        touch(tmp_path, "train/testifying/---QUuC4vJs_000084_000094.mp4")
        touch(tmp_path, "train/massaging_person's_head/-0ccKKdWFKs_000000_000010.mkv")
        touch(tmp_path, "train/-3B32lodo2M_000059_000069.webm")
        touch(tmp_path, "val/testifying/vvv_000005_000015.mp4", "validate/www_000006_000016.mp4")
        return tmp_path

    def test_own_lists(self, root: Path) -> None:
        videos = read(root, "kinetics")
        assert videos.labels == ("abseiling", "massaging person's head", "testifying")
        assert labels_of(videos) == [2, 1, 0, 0]
        assert paths_of(videos, root) == [
            "train/testifying/---QUuC4vJs_000084_000094.mp4",
            "train/massaging_person's_head/-0ccKKdWFKs_000000_000010.mkv",
            "train/-3B32lodo2M_000059_000069.webm",
            "train/abseiling/-7kbO0v4hag_001107_001117.mp4",  # it is not there: what a missing file is called
        ]
        assert paths_of(read(root, "kinetics", "val"), root) == [
            "val/testifying/vvv_000005_000015.mp4",
            "validate/www_000006_000016.mp4",
        ]
        assert videos.symmetries.mirror == (0, 1, 2)

    def test_order_of_the_released_weights(self, root: Path) -> None:
        names = write(root / "released.txt", "testifying", "abseiling", "massaging person's head")
        assert labels_of(read(root, "kinetics", labels=names)) == [0, 2, 1, 1]

    def test_lists_of_the_original(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", "k400/a b.mp4,0", "k400/c.mp4,3")
        write(tmp_path / "val.csv", "k400/d.mp4,1")
        videos = read(tmp_path, "kinetics")
        assert (paths_of(videos, tmp_path), labels_of(videos)) == (["k400/a b.mp4", "k400/c.mp4"], [0, 3])
        assert videos.symmetries.mirror == (0, 1, 2, 3), "nothing of Kinetics tells left from right"

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(VideoMambaError, match="no Kinetics here"):
            read(tmp_path, "kinetics")
        write(tmp_path / "train.csv", self.HEADER, "run,abc,0,10,train", "run,abc,x,10,train")
        with pytest.raises(VideoMambaError, match=r"train\.csv, line 3: the time_start 'x' is not a number"):
            read(tmp_path, "kinetics", val=tmp_path / "train.csv")
        write(tmp_path / "train.csv", "youtube_id,time_start,time_end,split", "abc,0,10,test")
        with pytest.raises(VideoMambaError, match=r"train\.csv, line 2: has no label, like Kinetics' test list"):
            read(tmp_path, "kinetics", val=tmp_path / "train.csv")


class TestSomethingSomething:
    LABELS = ("Holding something next to something", "Pulling something from left to right", "Zooming in")

    def put(self, root: Path, folder: str, prefix: str) -> None:
        (root / folder).mkdir(parents=True, exist_ok=True)

        def video(name: str, template: str) -> dict[str, object]:
            return {"id": name, "label": "holding potato", "template": template, "placeholders": ["potato"]}

        train = [video("78687", "Holding [something] next to [something]"), video("4", "Zooming in")]
        val = [video("99", "Pulling [something] from left to right")]
        for name, content in (
            ("train.json", train),
            ("validation.json", val),
            ("test.json", [{"id": "1420"}]),
            ("labels.json", {label: str(i) for i, label in enumerate(self.LABELS)}),
        ):
            (root / folder / f"{prefix}{name}").write_text(json.dumps(content))

    @pytest.mark.parametrize(("folder", "prefix"), [("", "something-something-v2-"), ("labels", "")])
    def test_own_files(self, tmp_path: Path, folder: str, prefix: str) -> None:
        self.put(tmp_path, folder, prefix)
        touch(tmp_path, "20bn-something-something-v2/78687.webm", "99.mp4")
        videos = read(tmp_path, "ssv2")
        assert videos.labels == self.LABELS
        assert labels_of(videos) == [0, 2]
        assert paths_of(videos, tmp_path) == ["20bn-something-something-v2/78687.webm", "4.mp4"]
        assert videos.records[1].origin.endswith("train.json, entry 2")
        assert videos.symmetries.mirror is None
        for split in ("val", "test"):
            assert paths_of(read(tmp_path, "ssv2", split), tmp_path) == ["99.mp4"]

    def test_own_files_and_frames(self, tmp_path: Path) -> None:
        self.put(tmp_path, "", "something-something-v2-")
        touch(tmp_path, "frames/78687/img_00001.jpg", "frames/4/img_00001.jpg")
        assert paths_of(read(tmp_path, "ssv2_frames"), tmp_path) == ["frames/78687", "frames/4"]

    def test_lists_of_the_original(self, tmp_path: Path) -> None:
        for name in ("train.csv", "val.csv"):
            write(tmp_path / name, "video folder/74225.mp4 172", "9.webm 0")
        videos = read(tmp_path, "ssv2")
        assert (paths_of(videos, tmp_path), labels_of(videos)) == (["video folder/74225.mp4", "9.webm"], [172, 0])
        assert len(videos.labels) == 174
        assert videos.symmetries.mirror is None

    @pytest.mark.parametrize("separator", [" ", ","])
    def test_frames_of_the_original(self, tmp_path: Path, separator: str) -> None:
        for name in ("train.csv", "val.csv"):
            write(
                tmp_path / name, separator.join(("frames/74225", "43", "172")), separator.join(("frames/9", "12", "0"))
            )
        videos = read(tmp_path, "ssv2_frames")
        assert [(r.num_frames, r.frame_name, r.label) for r in videos.records] == [
            (43, "img_{:05}.jpg", 172),
            (12, "img_{:05}.jpg", 0),
        ]
        assert paths_of(videos, tmp_path) == ["frames/74225", "frames/9"]

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(VideoMambaError, match="no Something-Something here"):
            read(tmp_path, "ssv2")
        self.put(tmp_path, "", "")
        (tmp_path / "train.json").write_text('[{"id": "1", "template": "Zooming in"}, {"id": "2"}]')
        with pytest.raises(VideoMambaError, match=r"train\.json, entry 2: needs id and template"):
            read(tmp_path, "ssv2")
        (tmp_path / "train.json").write_text('[{"id": "1", "template": "Zooming out"}]')
        with pytest.raises(
            VideoMambaError, match=r"train\.json, entry 1: class 'Zooming out' is not one of the 3 classes"
        ):
            read(tmp_path, "ssv2")
        (tmp_path / "train.json").write_text("[{]")
        with pytest.raises(VideoMambaError, match=r"train\.json: is not valid JSON"):
            read(tmp_path, "ssv2")
        self.put(tmp_path, "", "")
        for table in ('{"Zooming in": "0", "Zooming out": "2"}', "{}"):
            (tmp_path / "labels.json").write_text(table)
            with pytest.raises(VideoMambaError, match=r"labels\.json: its indices do not count from 0"):
                read(tmp_path, "ssv2")


class TestBreakfast:
    def test_lists_of_vis4mer(self, tmp_path: Path) -> None:
        header = "file_name,duration,action,class_id"
        write(
            tmp_path / "train.csv",
            header,
            "P03-cam01-P03_cereals,46,cereals,0",
            "P03-stereo-P03_milk_ch0,67,milk,8",
            "P04-webcam02-P04_tea,33,tea,2",
        )
        write(tmp_path / "test.csv", header, "P47-cam01-P47_salat,269,salat,9")
        touch(tmp_path, "BreakfastII_15fps_qvga_sync/P03/cam01/P03_cereals.avi", "P04-webcam02-P04_tea.mp4")
        touch(tmp_path, "BreakfastII_15fps_qvga_sync/P03/stereo/P03_milk_ch0.avi")
        videos = read(tmp_path, "breakfast")
        assert (labels_of(videos), videos.labels) == ([0, 8, 2], BREAKFAST_ACTIONS)
        assert paths_of(videos, tmp_path) == [
            "BreakfastII_15fps_qvga_sync/P03/cam01/P03_cereals.avi",
            "BreakfastII_15fps_qvga_sync/P03/stereo/P03_milk_ch0.avi",
            "P04-webcam02-P04_tea.mp4",
        ]
        assert len(videos) == 3, "nothing is held out: validation is the published test set"
        assert labels_of(read(tmp_path, "breakfast", "val")) == labels_of(read(tmp_path, "breakfast", "test")) == [9]
        windows = read(tmp_path, "breakfast", window=40, stride=16)
        assert [r.span for r in windows.records] == [(0, 40), (16, 46), (0, 40), (16, 56), (32, 67), (0, 33)]

    def test_lists_of_the_original(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", "P03/cam01/P03_cereals.avi,0", "P03/cam01/P03_tea.avi,2")
        write(tmp_path / "val.csv", "P03/cam01/P03_tea.avi,2,60.5")
        videos = read(tmp_path, "breakfast")
        assert (paths_of(videos, tmp_path)[0], labels_of(videos)) == ("P03/cam01/P03_cereals.avi", [0, 2])
        assert [r.span for r in read(tmp_path, "breakfast", "val", window=60).records] == [(0, 60), (16, 60.5)]


class TestCoin:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        def facts(kind: int, name: str, subset: str) -> dict[str, object]:
            step = {"id": "212", "segment": [60.0, 69.0], "label": "take out the laptop CD drive"}
            return {
                "duration": 131.03,
                "class": name,
                "video_url": "https://www.youtube.com/embed/x",
                "start": 56.6,
                "annotation": [step],
                "subset": subset,
                "end": 85.7,
                "recipe_type": kind,
            }

        database = {
            "LtRSn-ntcLY": facts(2, "ReplaceCDDriveWithSSD", "training"),
            "-aaa": facts(0, "ArcWeld", "training"),
            "bbb": facts(0, "ArcWeld", "testing"),
        }
        (tmp_path / "COIN.json").write_text(json.dumps({"database": database}))
        touch(tmp_path, "videos/2/LtRSn-ntcLY.mp4", "-aaa.webm")
        return tmp_path

    def test_own_file(self, root: Path) -> None:
        videos = read(root, "coin")
        assert videos.labels == ("ArcWeld", "class_1", "ReplaceCDDriveWithSSD")
        assert (labels_of(videos), paths_of(videos, root)) == ([2, 0], ["videos/2/LtRSn-ntcLY.mp4", "-aaa.webm"])
        for split in ("val", "test"):
            assert paths_of(read(root, "coin", split), root) == ["0/bbb.mp4"]
        assert [r.span for r in read(root, "coin", "test", window=100, stride=50).records] == [
            *((0, 100), (50, 131.03)),
        ]

    def test_lists_of_the_original(self, root: Path) -> None:
        write(root / "train.csv", "videos/2/LtRSn-ntcLY.mp4,2", "x.mp4,0")
        write(root / "val.csv", "y.mp4,1")
        videos = read(root, "coin")
        assert (labels_of(videos), videos.labels[2]) == ([2, 0], "ReplaceCDDriveWithSSD")

    def test_errors(self, root: Path) -> None:
        (root / "COIN.json").write_text('{"database": {"abc": {"subset": "training", "class": "x"}}}')
        with pytest.raises(VideoMambaError, match=r"COIN\.json, abc: has no recipe_type"):
            read(root, "coin")
        (root / "COIN.json").write_text('{"database": {"abc": {"subset": "training", "recipe_type": 0}}}')
        with pytest.raises(VideoMambaError, match=r"COIN\.json, abc: has no class, the name"):
            read(root, "coin")
        (root / "COIN.json").write_text('{"database": {"abc": {"subset": "other", "class": "x", "recipe_type": 0}}}')
        with pytest.raises(VideoMambaError, match=r"COIN\.json, abc: subset is .other"):
            read(root, "coin")
        (root / "COIN.json").write_text("[]")
        with pytest.raises(VideoMambaError, match=r"COIN\.json: has no table 'database'"):
            read(root, "coin")
        (root / "COIN.json").unlink()
        with pytest.raises(VideoMambaError, match="no COIN here"):
            read(root, "coin")


class TestLvu:
    HEADER = "class_id class_name youtube_id imdb_id"

    @pytest.mark.parametrize("task", NUM_CLASSES)
    @pytest.mark.parametrize("folder", ["", "lvu_1.0"])
    def test_classification(self, tmp_path: Path, task: str, folder: str) -> None:
        last = NUM_CLASSES[task] - 1
        lines = ("0 \\N -yx9JK_HeQc tt0343121", f"{last} nm0001220 0quEnseH0zo tt0381061")
        for split in ("train", "val", "test"):
            write(tmp_path / folder / task / f"{split}.csv", self.HEADER, *lines)
        write(tmp_path / folder / "lvu_durations.csv", "videoid,duration", "-yx9JK_HeQc,90", "0quEnseH0zo,30")
        touch(tmp_path, "videos/-yx9JK_HeQc.mp4", "0quEnseH0zo.mkv")
        for split in ("train", "val", "test"):
            videos = read(tmp_path, "lvu", split, task=task)
            assert labels_of(videos) == [0, last]
            assert paths_of(videos, tmp_path) == ["videos/-yx9JK_HeQc.mp4", "0quEnseH0zo.mkv"]
            assert len(videos.labels) == NUM_CLASSES[task]
            assert (videos.labels[0], videos.labels[1], videos.labels[last]) == ("unknown", "class_1", "nm0001220")
        windows = read(tmp_path, "lvu", task=task, window=60, stride=16)
        assert [r.span for r in windows.records] == [(0, 60), (16, 76), (32, 90), (48, 90), (0, 30)]

    def test_likes(self, tmp_path: Path) -> None:
        header = "like_count dislike_count youtube_id imdb_id"
        for split in ("train", "val"):
            write(tmp_path / "like_ratio" / f"{split}.csv", header, "100410 3572 87IqS4kQqgE tt7616798")
        videos = read(tmp_path, "lvu", task="like_ratio")
        assert videos.records[0].target == pytest.approx(1004100 / 103982 - 9.138220535629456)
        assert videos.regression
        assert videos.symmetries.mirror == (), "a mirrored film is liked as much"

    def test_views(self, tmp_path: Path) -> None:
        for split in ("train", "val"):
            write(tmp_path / "view_count" / f"{split}.csv", "view_count youtube_id imdb_id", "1004143 _3F3eCypuko tt1")
        videos = read(tmp_path, "lvu", task="view_count")
        assert videos.records[0].target == pytest.approx(math.log(1004143) - 11.76425435683139)
        assert paths_of(videos, tmp_path) == ["_3F3eCypuko.mp4"]

    def test_lists_of_the_original(self, tmp_path: Path) -> None:
        for split in ("train", "val"):
            write(tmp_path / "scene" / f"{split}.csv", "lvu/a.mp4,5,100", "lvu/b.mp4,0,20")
            write(tmp_path / "view_count" / f"{split}.csv", "lvu/a.mp4,-1.25", "lvu/b.mp4,0.5")
        videos = read(tmp_path, "lvu", task="scene", window=60, stride=16)
        assert labels_of(videos) == [5, 5, 5, 5, 5, 0]
        assert [r.target for r in read(tmp_path, "lvu", task="view_count").records] == [-1.25, 0.5]

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(
            VideoMambaError, match=r"LVU has nine tasks; choose one with data.task: relationship, .*view_count"
        ):
            read(tmp_path, "lvu")
        with pytest.raises(VideoMambaError, match="no LVU task scene here"):
            read(tmp_path, "lvu", task="scene")
        file = tmp_path / "view_count" / "train.csv"
        for lines, message in (
            (("view_count youtube_id imdb_id", "10 a t", "0 b t"), r"train\.csv, line 3: view_count must be above 0"),
            (("view_count youtube_id imdb_id", "x a t"), r"train\.csv, line 2: view_count 'x' is not a number"),
            ((self.HEADER, "0 x a t"), r"train\.csv, line 2: has no view_count; is this the list of another task"),
            (
                ("view_count youtube_id imdb_id", "10 a"),
                r"train\.csv, line 2: has 2 columns, expected view_count,youtube",
            ),
        ):
            write(file, *lines)
            with pytest.raises(VideoMambaError, match=message):
                read(tmp_path, "lvu", task="view_count")
        write(file, "view_count youtube_id imdb_id", "10 a t", "20 b t")
        write(tmp_path / "view_count" / "val.csv", "view_count youtube_id imdb_id", "10 c t")
        durations = write(tmp_path / "lvu_durations.csv", "videoid,duration", "a,5", ",7", "b,")
        videos = read(tmp_path, "lvu", task="view_count", window=60, on_error="skip")
        assert [r.span for r in videos.records] == [(0, 5), None], "b is opened: the list does not tell its duration"
        write(durations, "videoid,duration", "a,5", "b,0")
        with pytest.raises(VideoMambaError, match=r"lvu_durations\.csv, line 3: the duration 0 is not above 0"):
            read(tmp_path, "lvu", task="view_count", window=60)
        durations.unlink()
        for split in ("train", "val"):
            write(tmp_path / "genre" / f"{split}.csv", self.HEADER, "7 Comedy a t")
        with pytest.raises(VideoMambaError, match=r"train\.csv, line 2: label 7 is not in 0"):
            read(tmp_path, "lvu", task="genre")


class TestImageNet:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        touch(tmp_path, "train/n01443537/n01443537_2.JPEG", "train/n01440764/n01440764_10026.JPEG")
        touch(tmp_path, "train/n01440764/n01440764_9.JPEG", "val/n01443537/ILSVRC2012_val_00000236.JPEG")
        touch(tmp_path, "val/n01440764/ILSVRC2012_val_00000293.JPEG")
        return tmp_path

    def test_folders(self, root: Path) -> None:
        videos = read(root, "imagenet")
        assert videos.labels == ("n01440764", "n01443537")
        assert labels_of(videos) == [0, 0, 1]
        assert paths_of(videos, root)[2] == "train/n01443537/n01443537_2.JPEG"
        assert videos.symmetries.mirror == (0, 1)
        assert labels_of(read(root, "imagenet", "val")) == [0, 1]

    def test_names_behind_the_synsets(self, root: Path) -> None:
        labels = write(root / "labels.txt", "n01443537 goldfish", "n01440764 tench")
        videos = read(root, "imagenet", labels=labels)
        assert (labels_of(videos), videos.labels[0]) == ([1, 1, 0], "n01443537 goldfish")

    @pytest.mark.parametrize("prefix", ["", "train/"])
    def test_lists_of_the_original(self, root: Path, prefix: str) -> None:
        lines = (f"{prefix}n01440764/n01440764_9.JPEG 0", f"{prefix}n01443537/n01443537_2.JPEG 1")
        write(root / "meta" / "train.txt", *lines)
        write(root / "meta" / "val.txt", "n01440764/ILSVRC2012_val_00000293.JPEG 0")
        videos = read(root, "imagenet")
        assert paths_of(videos, root) == ["train/n01440764/n01440764_9.JPEG", "train/n01443537/n01443537_2.JPEG"]
        assert videos.labels == ("n01440764", "n01443537")
        assert paths_of(read(root, "imagenet", "val"), root) == ["val/n01440764/ILSVRC2012_val_00000293.JPEG"]

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(VideoMambaError, match="no ImageNet here"):
            read(tmp_path, "imagenet")
        touch(tmp_path, "train/n01440764/a.JPEG", "val/ILSVRC2012_val_00000293.JPEG")
        with pytest.raises(VideoMambaError, match="val: no folders here; make one per class"):
            read(tmp_path, "imagenet", "val")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    for seed, folder in enumerate(("train/variant0", "train/variant1", "val/variant0")):
        write_dataset(root / folder, clips_per_class=1, seed=seed, num_frames=8, height=64, width=64)
    return root


class TestSynthetic:
    @pytest.mark.parametrize("format", ["auto", "synthetic"])
    def test_several_folders(self, synthetic: Path, format: Format) -> None:
        train, val = read(synthetic, format), read(synthetic, format, "val")
        assert labels_of(train) == [*range(len(ACTIONS))] * 2
        assert (labels_of(val), val.labels) == ([*range(len(ACTIONS))], ACTIONS)
        assert {path.split("/")[1] for path in paths_of(train, synthetic)} == {"variant0", "variant1"}
        assert all(Path(record.path).is_file() for record in train.records)

    def test_one_folder_is_cut(self, synthetic: Path) -> None:
        with pytest.raises(VideoMambaError, match="is the only video of class"):
            read(synthetic / "val" / "variant0", "auto")
        assert len(read(synthetic / "train", "auto", val_fraction=0.5)) == len(ACTIONS)

    def test_symmetries(self, synthetic: Path) -> None:
        symmetries = read(synthetic, "auto").symmetries
        assert symmetries.mirror is not None
        assert symmetries.upside_down is not None

        def swapped(name: str, *pairs: tuple[str, str]) -> str:
            swap = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
            return "_".join(swap.get(word, word) for word in name.split("_"))

        turn = ("clockwise", "counterclockwise")
        assert [ACTIONS[i] for i in symmetries.mirror] == [swapped(a, ("left", "right"), turn) for a in ACTIONS]
        assert [ACTIONS[i] for i in symmetries.upside_down] == [swapped(a, ("up", "down"), turn) for a in ACTIONS]
        assert symmetries.backwards == tuple(map(reversed_action, range(len(ACTIONS))))

    def test_also_an_ordinary_folder_and_list(self, synthetic: Path) -> None:
        variant = synthetic / "train" / "variant0"
        as_list = read_dataset(
            DataSettings(root=variant, train=variant / "annotations.csv", val=variant / "annotations.csv"), "train"
        )
        assert as_list.labels == ACTIONS
        assert as_list.symmetries.mirror == read(synthetic, "auto").symmetries.mirror

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(VideoMambaError, match=r"no synthetic\.json here or two folders down"):
            read(tmp_path, "synthetic")
        write(tmp_path / "synthetic.json", "{}")
        write(tmp_path / "labels.txt", "run", "sit")
        with pytest.raises(VideoMambaError, match=r"labels\.txt: has other classes than this version makes"):
            read(tmp_path, "synthetic")
