"""What a run writes about itself: whole lines, no gap and no double after a resume, and nothing for a terminal elsewhere."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from videomamba.schema import VideoMambaError
from videomamba.training.tracking import Tracker, read_metrics

STEPS_PER_EPOCH = 4
STEPS = 12


def train(out: Path, *, start: int | None = None, stop: int = STEPS, again: bool = False) -> None:
    """Goes from step `start` to step `stop`; `again`: the epoch that ends at `start` is told once more."""
    with Tracker(out, total_steps=STEPS, show=False, resume_step=start) as tracker:

        def end_epoch(step: int) -> None:
            epoch = step // STEPS_PER_EPOCH - 1
            tracker.epoch(epoch, top1=1 / step, **({"best": 1} if epoch == 1 else {}))

        if again:
            end_epoch(start or 0)
        for step in range((start or 0) + 1, stop + 1):
            epoch = (step - 1) // STEPS_PER_EPOCH
            if step == 9:
                tracker.event("a gradient was not finite", step=step)
            tracker.step(step, epoch=epoch, loss=math.nan if step == 6 else 1 / step, lr=0.1 * step, waiting=0.5)
            if step == 7:
                tracker.event("a step was left out", sample="bad.mp4")
            if step % STEPS_PER_EPOCH == 0:
                end_epoch(step)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The folder of a run without interruption."""
    train(tmp_path / "whole")
    return tmp_path / "whole"


def same(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in ("metrics.jsonl", "metrics.csv"))


class TestFiles:
    def test_records(self, whole: Path) -> None:
        records = read_metrics(whole)
        assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, STEPS + 1))
        assert records[0] == {"kind": "step", "step": 1, "epoch": 0, "loss": 1.0, "lr": 0.1, "waiting": 0.5}
        assert records[4] == {
            "kind": "epoch",
            "step": 4,
            "epoch": 0,
            "loss": pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4),
            "waiting": 0.5,
            "top1": 0.25,
        }
        assert records[8] == {"kind": "event", "step": 7, "message": "a step was left out", "sample": "bad.mp4"}

    def test_numbers_that_are_not_finite_are_json(self, whole: Path) -> None:
        def refuse(constant: str) -> None:
            raise AssertionError(constant)

        lines = (whole / "metrics.jsonl").read_text().splitlines()
        found = [json.loads(line, parse_constant=refuse) for line in lines]
        assert found[6]["loss"] == "nan"
        records = read_metrics(whole)
        assert math.isnan(records[6]["loss"])
        # The mean of the epoch leaves it out.
        assert records[10]["loss"] == pytest.approx((1 / 5 + 1 / 7 + 1 / 8) / 3)

    def test_the_table_has_every_column_that_comes(self, whole: Path) -> None:
        rows = list(csv.DictReader(io.StringIO((whole / "metrics.csv").read_text())))
        assert list(rows[0]) == ["step", "epoch", "loss", "waiting", "top1", "best"]
        assert [(row["epoch"], row["best"]) for row in rows] == [("0", ""), ("1", "1"), ("2", "")]

    def test_records_are_there_at_once(self, tmp_path: Path) -> None:
        with Tracker(tmp_path, total_steps=2, show=False) as tracker:
            tracker.step(1, epoch=0, loss=2.0)
            assert len(read_metrics(tmp_path)) == 1

    def test_infinity_comes_back(self, tmp_path: Path) -> None:
        with Tracker(tmp_path, total_steps=1, show=False) as tracker:
            tracker.step(1, epoch=0, loss=math.inf, grad_norm=-math.inf, accuracy=None)
        assert read_metrics(tmp_path)[0] == {
            "kind": "step", "step": 1, "epoch": 0, "loss": math.inf, "grad_norm": -math.inf, "accuracy": None
        }  # fmt: skip


class TestResume:
    @pytest.mark.parametrize("checkpoint", range(STEPS + 1))
    @pytest.mark.parametrize("lost", [0, 1, 5])
    def test_the_files_are_those_of_an_uninterrupted_run(
        self, tmp_path: Path, whole: Path, checkpoint: int, lost: int
    ) -> None:
        train(tmp_path / "cut", stop=min(checkpoint + lost, STEPS))
        train(tmp_path / "cut", start=checkpoint)
        assert same(tmp_path / "cut", whole)

    @pytest.mark.parametrize("checkpoint", [4, 8, 12])
    def test_an_epoch_that_is_told_again_stands_once(self, tmp_path: Path, whole: Path, checkpoint: int) -> None:
        train(tmp_path / "cut", stop=min(checkpoint + 2, STEPS))
        train(tmp_path / "cut", start=checkpoint, again=True)
        assert same(tmp_path / "cut", whole)

    def test_a_kill_in_the_middle_of_a_line(self, tmp_path: Path, whole: Path) -> None:
        data = (whole / "metrics.jsonl").read_bytes()
        ends = [i for i, byte in enumerate(data) if byte == ord("\n")]
        records = [json.dumps(record) for record in read_metrics(whole)]
        for cut in range(ends[-3], len(data)):
            (tmp_path / "metrics.jsonl").write_bytes(data[:cut])
            found = [json.dumps(record) for record in read_metrics(tmp_path)]
            assert found == records[: sum(end <= cut for end in ends)]
        (tmp_path / "metrics.jsonl").write_bytes(data[: ends[5] - 3])
        (tmp_path / ".metrics.csv.half").mkdir()
        (tmp_path / ".metrics.csv.half" / "metrics.csv").write_text("step,")
        train(tmp_path, start=4)
        assert same(tmp_path, whole)
        assert not list(tmp_path.glob(".*"))

    def test_a_new_run_begins_with_empty_files(self, tmp_path: Path, whole: Path) -> None:
        (whole / "metrics.jsonl").write_text("not json\nnot json\n")
        train(whole, stop=5)
        train(tmp_path / "new", stop=5)
        assert same(whole, tmp_path / "new")

    def test_nothing_to_resume(self, tmp_path: Path) -> None:
        assert read_metrics(tmp_path / "absent") == []
        train(tmp_path / "absent", start=8)
        assert read_metrics(tmp_path / "absent")[0]["step"] == 9


class TestErrors:
    def test_a_line_that_is_no_record_is_named(self, whole: Path) -> None:
        lines = (whole / "metrics.jsonl").read_text().splitlines(keepends=True)
        (whole / "metrics.jsonl").write_text("".join([*lines[:2], '{"step": 3}\n', *lines[3:]]))
        with pytest.raises(VideoMambaError, match=r"metrics\.jsonl, line 3: not a record of metrics; remove the line$"):
            read_metrics(whole)

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with (
            pytest.raises(VideoMambaError, match=r"file.*: the metrics cannot be (saved|read) \(Not a directory\)"),
            Tracker(tmp_path / "file" / "run", total_steps=1, show=False, resume_step=1),
        ):
            pass

    @pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
    def test_a_full_disk_leaves_whole_lines(self, tmp_path: Path) -> None:
        """The system takes a part of the third line and no more."""
        script = """
import resource, sys
from pathlib import Path
from videomamba.schema import VideoMambaError
from videomamba.training.tracking import Tracker

out = Path(sys.argv[1])
with Tracker(out, total_steps=9) as tracker:
    tracker.step(1, epoch=0, loss=0.5)
    size = (out / "metrics.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size + 5, 2 * size + 5))
    tracker.step(2, epoch=0, loss=0.5)
    for _ in range(2):
        try:
            tracker.step(3, epoch=0, loss=0.5)
        except VideoMambaError as error:
            print(error)
"""
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
        line = f"{tmp_path / 'metrics.jsonl'}: the metrics cannot be saved (File too large); fix that and "
        assert done.stdout == f"{line}resume the run\n" * 2
        text = (tmp_path / "metrics.jsonl").read_text()
        assert text.endswith("\n") and [json.loads(line)["step"] for line in text.splitlines()] == [1, 2]


class TestShown:
    def tell(self, out: Path, *, show: bool = True) -> None:
        with Tracker(out, total_steps=8, show=show) as tracker:
            tracker.step(1, epoch=0, loss=0.5, lr=2e-4, samples_per_second=31.25, waiting=0.05)
            tracker.epoch(0, top1=0.8125, best=None)

    def test_without_a_terminal_a_line_an_epoch(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.tell(tmp_path)
        shown = capsys.readouterr()
        assert shown.err == "epoch 0, step 1: loss 0.5, samples per second 31.25, waiting 0.05, top1 0.8125\n"
        assert shown.out == ""

    def test_quiet(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.tell(tmp_path, show=False)
        assert capsys.readouterr() == ("", "")

    def test_a_terminal_has_a_bar(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        self.tell(tmp_path)
        shown = terminal.getvalue()
        assert "1/8" in shown and "loss 0.5, lr 0.0002, 31.2 samples/s, waiting 5%" in shown
        assert "epoch 0, step 1: loss 0.5" in shown and "\x1b[?25h" in shown  # the cursor is back


class TestTensorBoard:
    def test_events(self, tmp_path: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        with Tracker(tmp_path, total_steps=9, show=False, tensorboard=True) as tracker:
            for step in range(1, 6):
                tracker.step(step, epoch=0, loss=1.0, note="no number")
            tracker.epoch(0, top1=0.5)
        with Tracker(tmp_path, total_steps=9, show=False, tensorboard=True, resume_step=3) as tracker:
            tracker.step(4, epoch=0, loss=2.0)
        events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        assert [(e.step, e.value) for e in events.Scalars("step/loss")] == [(1, 1), (2, 1), (3, 1), (4, 2)]

    def test_without_tensorboard_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        train(tmp_path)
        before = (tmp_path / "metrics.jsonl").read_bytes()
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        monkeypatch.delitem(sys.modules, "videomamba.training.tensorboard", raising=False)
        with (
            pytest.raises(VideoMambaError, match=r"pip install 'videomamba\[train\]'"),
            Tracker(tmp_path, total_steps=1, tensorboard=True),
        ):
            pass
        assert (tmp_path / "metrics.jsonl").read_bytes() == before
