"""The page about a run: whole, escaped, the same twice, and with nothing from outside."""

from __future__ import annotations

import base64
import io
import re
import struct
import sys
from collections.abc import Mapping
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import av
import numpy as np
import pytest
import torch

from videomamba.evaluation.metrics import classification_report, regression_report
from videomamba.evaluation.plot import confusion_svg, curves_svg, save_confusion
from videomamba.evaluation.report import facts_of_run, write_report
from videomamba.evaluation.results import ClassificationResult, RegressionResult
from videomamba.evaluation.thumbnails import HEIGHT, PICTURES
from videomamba.schema import ClassLabel, Number, VideoMambaError, VideoRecord, VideoSet
from videomamba.video.encode import write_video

LABELS = ("clap & cheer", "<script>alert(1)</script>", "$5 \\frac", "挥手", "quote \" ' end", "\udcff")
EMPTY = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that elements close in order; collects text, links and ids."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def history() -> list[Mapping[str, object]]:
    records: list[Mapping[str, object]] = []
    for step in range(1, 201):
        loss = float("nan") if step == 7 else 1 / step
        records.append({"kind": "step", "step": step, "epoch": step // 100, "loss": loss, "lr": 1e-4})
        if step % 100 == 0:
            records.append({"kind": "epoch", "step": step, "epoch": step // 100, "val_loss": 0.3, "top1": 0.9})
    return [*records, {"kind": "event", "step": 200, "message": "left out"}]


def classified() -> ClassificationResult:
    """12 videos of 6 classes: the first wrong, the last unreadable."""
    records = tuple(VideoRecord(f"/videos/<{i}> & co.mp4", ClassLabel(i % 6)) for i in range(12))
    scores = torch.eye(6)[[3, *(i % 6 for i in range(1, 11))]]
    return classification_report(
        VideoSet("val", records, LABELS), range(11), scores, [(11, "no <video> stream")], protocol="2 clips x 3 crops"
    )


def regressed() -> RegressionResult:
    records = tuple(VideoRecord(f"{i}.mp4", Number(i / 10)) for i in range(40))
    return regression_report(VideoSet("val", records), range(40), torch.zeros(40), [], protocol="mean over views")


def write(path: Path, result: ClassificationResult | RegressionResult, **options: object) -> Page:
    config = {
        "optim": {"lr": 2e-4, "betas": (0.9, 0.999)},
        "data": {"root": Path("/a<b>")},
        "preset": None,
        "empty": {},
    }
    write_report(path, title="Fine-tuning <1>", config=config, result=result, **options)  # type: ignore[arg-type]
    return Page(path.read_text(encoding="utf-8"))


def write_full(path: Path) -> None:
    write(
        path,
        classified(),
        history=history(),
        skipped=[("train/x.mp4", "cut short")],
        note="videomamba finetune a&b",
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_full(path)
    return path


class TestReport:
    def test_classification(self, written: Path) -> None:
        page = Page(written.read_text(encoding="utf-8"))
        for text in (
            "Fine-tuning <1>",
            "videomamba finetune a&b",
            "83.33%10 of 12 videos, 95% interval 55.2% to 95.3%",
            "90.91%11 videos",
            "Protocol: 2 clips x 3 crops",
            "/videos/<0> & co.mp4",
            "no <video> stream",
            "train/x.mp4",
            "optim.lr",
            "[0.9, 0.999]",
            "data.root/a<b>",
            "mean of 4 steps",
            "val loss",
            "\\udcff",
            *LABELS[:5],
        ):
            assert text in page.text, text
        assert [t for t in ("Loss", "Learning rate", "Accuracy", "Samples per second") if t in page.text] == [
            "Loss",
            "Learning rate",
            "Accuracy",
        ]
        assert "script" not in page.tags

    def test_regression(self, tmp_path: Path) -> None:
        page = write(tmp_path / "report.html", regressed())
        squared = sum((i / 10) ** 2 for i in range(40)) / 40
        assert f"mean squared error{squared:.4g}40 videos" in page.text
        assert "The first 30 of 40." in page.text and "39.mp4" in page.text and "1.mp4" not in page.text.split()
        assert "Training" not in page.text

    def test_nothing_scored(self, tmp_path: Path) -> None:
        video_set = VideoSet("val", (VideoRecord("a", Number(1.0)),))
        result = regression_report(video_set, [], torch.empty(0), [(0, "gone")], protocol="")
        assert "none0 videos" in write(tmp_path / "report.html", result).text

    def test_nothing_comes_from_outside(self, written: Path) -> None:
        html = written.read_text(encoding="utf-8")
        page = Page(html)
        links = [
            a for a in page.addresses if not a.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,"))
        ]
        assert len(links) == 3 and not any(re.match(r"[a-z]+:|/", link) for link in links)
        assert [unquote(link).rpartition("/")[2] for link in links] == ["<0> & co.mp4", "<11> & co.mp4", "x.mp4"]
        assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
        assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", html))
        assert "@import" not in html

    def test_wrong_answers_have_pictures_and_links(self, tmp_path: Path) -> None:
        (tmp_path / "a & <b>").mkdir()
        names = [str(tmp_path / "a & <b>" / "100% #1?.mp4"), str(tmp_path / "a & <b>" / "damaged.mp4")]
        write_video(names[0], np.full((8, 18, 32, 3), 200, np.uint8), fps=4)
        Path(names[1]).write_text("no video")
        video_set = VideoSet("val", tuple(VideoRecord(name, ClassLabel(0)) for name in names), ("a", "b"))
        result = classification_report(video_set, range(2), torch.tensor([[0.0, 1.0]] * 2), [], protocol="")
        (tmp_path / "page").mkdir()
        page = write(tmp_path / "page" / "report.html", result)
        assert [unquote(a) for a in page.addresses if a.startswith("..")] == [
            f"../a & <b>/{Path(n).name}" for n in names
        ]
        assert not any(set("#?<& ") & set(a) for a in page.addresses if a.startswith(".."))
        (image,) = (a for a in page.addresses if a.startswith("data:image/jpeg;base64,"))
        with av.open(io.BytesIO(base64.b64decode(image.partition(",")[2]))) as seen:
            (picture,) = (frame.to_ndarray(format="rgb24") for frame in seen.decode(video=0))
        assert picture.shape == (HEIGHT, PICTURES * 114, 3) and abs(picture.astype(int) - 200).max() < 12

    @pytest.mark.parametrize(
        ("curves", "said"),
        [
            ("2 clips x 3 crops", "follow the protocol above"),
            ("1 clip x 1 crop", "not comparable with the result above. Curves: 1 clip x 1 crop, "),
        ],
    )
    def test_curves_of_another_protocol_say_so(self, curves: str, said: str, tmp_path: Path) -> None:
        page = write(tmp_path / "report.html", classified(), history=history(), curves=curves)
        assert said in page.text

    def test_date_duration_and_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.argv", ["/x/videomamba/__main__.py", "finetune", "my videos", "--epochs", "3"])
        facts = facts_of_run(3725.4)
        assert facts["command"] == "videomamba finetune 'my videos' --epochs 3" and facts["duration"] == "1:02:05"
        datetime.fromisoformat(facts["date"])
        page = write(tmp_path / "report.html", classified(), facts=facts)
        assert all(f"{name} {value}" in page.text for name, value in facts.items())
        monkeypatch.setattr("sys.argv", [""])
        assert set(facts_of_run(1.0)) == {"date", "duration"}

    def test_ids_are_unique_where_they_are_referred_to(self, written: Path) -> None:
        html = written.read_text(encoding="utf-8")
        referred = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", html))
        ids = Page(html).ids
        assert referred and all(ids.count(name) == 1 for name in referred)

    def test_the_same_twice(self, written: Path, tmp_path: Path) -> None:
        write_full(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == written.read_bytes()
        assert [p.name for p in tmp_path.iterdir()] == ["again"]

    def test_a_folder_that_is_absent_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(VideoMambaError, match=r"report\.html: cannot be written \(No such file"):
            write(tmp_path / "absent" / "report.html", classified())

    def test_without_matplotlib_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        monkeypatch.delitem(sys.modules, "videomamba.evaluation.plot")
        monkeypatch.delitem(sys.modules, "videomamba.evaluation.report")
        with pytest.raises(VideoMambaError, match=r"videomamba\[plot\]"):
            __import__("videomamba.evaluation.report")


class TestConfusion:
    @pytest.mark.parametrize(("size", "names"), [(2, True), (21, True), (51, False)])
    def test_names_as_long_as_they_can_be_read(self, tmp_path: Path, size: int, names: bool) -> None:
        labels = [f"class {i}" for i in range(size)]
        confusion = np.diag(np.arange(size))  # class 0 has no videos
        save_confusion(tmp_path / "confusion.png", confusion, labels)
        data = (tmp_path / "confusion.png").read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert min(struct.unpack(">II", data[16:24])) > 300
        assert (f"class {size - 1}<" in confusion_svg(confusion, labels)) is names

    def test_long_names_keep_both_ends(self) -> None:
        svg = confusion_svg(np.eye(2, dtype=np.int64), ["Moving something and something closer", "b"])
        assert "Moving something…omething closer" in svg

    def test_counts_stand_in_the_cells(self) -> None:
        assert "4711" in Page(confusion_svg(np.array([[4711, 0], [1, 2]]), ["a", "b"])).text

    def test_a_folder_that_is_absent_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(VideoMambaError, match=r"c\.png: the plot cannot be written \(No such file"):
            save_confusion(tmp_path / "absent" / "c.png", np.eye(2, dtype=np.int64), ["a", "b"])


class TestCurves:
    def test_a_long_run_stays_small(self) -> None:
        steps = [{"kind": "step", "step": i, "loss": float(np.sin(i) + 2), "lr": 0.1} for i in range(50_000)]
        assert sum(map(len, curves_svg(steps).values())) < 400_000

    def test_a_short_run_has_no_mean(self) -> None:
        curves = curves_svg([{"kind": "step", "step": i, "loss": 1.0} for i in range(1, 4)])
        assert list(curves) == ["Loss"] and "mean of" not in curves["Loss"]

    def test_nothing_to_draw(self) -> None:
        assert curves_svg([{"kind": "step", "step": 1, "loss": float("inf")}, {"kind": "event", "step": 1}]) == {}
