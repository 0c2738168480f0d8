"""`videomamba live`: what is printed, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.video.clips import RECIPES, draw, encode
from videomamba.cli.live import live
from videomamba.cli.model_options import ModelOptions
from videomamba.schema import VideoError
from videomamba.serving.live import LiveAnswer, LiveWatch
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.dataset import render_clip
from videomamba.video.encode import write_video
from videomamba.video.live.clock import StreamClock
from videomamba.weights.released import ACTIONS_MODEL


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds."""
    path = tmp_path_factory.mktemp("films") / "film.ts"
    return encode(path, RECIPES["h264.ts"], pictures=[draw(i // 5, (48, 64)) for i in range(75)])


@pytest.fixture(scope="module")
def model(bundle: Path) -> ModelOptions:
    return ModelOptions(model=str(bundle))


def test_a_pipe_of_a_film(bundle: Path, film: Path, model: ModelOptions, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "videomamba", "live", "-", "--model", str(bundle), "--json"]
    command += ["--window", "1", "--stride", "0.5", "--drop", "all", "--top", "2"]
    piping = subprocess.run(command, input=film.read_bytes(), capture_output=True, check=False, timeout=120)
    err = piping.stderr.decode()
    assert piping.returncode == 0, err
    assert err.splitlines() == [
        f"standard input: windows of 1 s every 0.5 s, answers by {bundle}",
        "standard input: 5 windows answered, 0 pictures dropped, 0 windows skipped (policy: all)",
    ]
    piped = [json.loads(line) for line in piping.stdout.splitlines()]
    assert [record["end"] for record in piped] == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert live(str(film), model=model, window=1.0, stride=0.5, drop="all", top=2, json=True) == 0
    filed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for one, other in zip(piped, filed, strict=True):
        assert [p["label"] for p in one["predictions"]] == [p["label"] for p in other["predictions"]]
        assert [p["score"] for p in one["predictions"]] == pytest.approx([p["score"] for p in other["predictions"]])
        assert set(one) == {
            *("start", "end", "predictions", "delay", "dropped", "skipped", "model", "unsure", "transition")
        }
        assert one["model"] == str(bundle)


def test_an_mp4_with_its_index_at_the_end_is_given_by_name(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: ModelOptions
) -> None:
    path = tmp_path / "film.mp4"
    noise = np.random.default_rng(0).integers(
        0, 256, (30, 96, 96, 3), dtype=np.uint8
    )  # more than FFmpeg's buffer holds
    write_video(path, noise, fps=10)
    command = [sys.executable, "-m", "videomamba", "live", "-", "--model", str(bundle), "--window", "1"]
    piping = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=False, timeout=120)
    (line,) = piping.stderr.decode().splitlines()
    assert piping.returncode == 1 and line.startswith("videomamba: standard input: is an MP4 with its index at the end")
    assert "give the file itself" in line and "-movflags +faststart" in line
    half = subprocess.run(command, input=path.read_bytes()[:900], capture_output=True, check=False, timeout=120)
    (line,) = half.stderr.decode().splitlines()
    assert half.returncode == 1 and "cannot be watched" in line and "given by its name" in line
    assert live(str(path), model=model, window=1.0, stride=1.0, drop="all") == 0
    assert "3 windows answered" in capsys.readouterr().err


def test_a_recording_that_loses_windows_says_which_policy_keeps_them(
    model: ModelOptions, film: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hasty(LiveWatch):
        """As on a machine that was too slow for a window."""

        def __next__(self) -> LiveAnswer:
            self.skipped = 1
            return super().__next__()

    monkeypatch.setattr("videomamba.serving.live.LiveWatch", Hasty)
    monkeypatch.setattr(StreamClock, "begin", lambda self, **_: None)  # nothing waits for real time
    assert live(str(film), model=model, window=1.0, stride=1.0, drop="latest") == 0
    assert capsys.readouterr().err.endswith("for a file, or a pipe from a file, --drop all answers every window\n")
    assert live(str(film), model=model, window=1.0, stride=1.0, drop="all") == 0
    assert "--drop all" not in capsys.readouterr().err


def test_ctrl_c_is_how_a_camera_s_run_ends(
    model: ModelOptions,
    film: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)
    answered = threading.Event()

    def interrupt() -> None:
        with pipe.open("wb") as camera:
            camera.write(film.read_bytes())
            camera.flush()  # and it stays open: no more comes, no end either
            assert answered.wait(60)
            os.kill(os.getpid(), signal.SIGINT)
            ended.wait(60)

    def print_json(record: object) -> None:
        print(json.dumps(record))
        answered.set()

    monkeypatch.setattr("videomamba.cli.live.print_json", print_json)
    ended = threading.Event()
    thread = threading.Thread(target=interrupt)
    thread.start()
    assert live(str(pipe), model=model, window=1.0, stride=0.5, json=True) == 0
    ended.set()
    thread.join()
    captured = capsys.readouterr()
    assert all(json.loads(line)["end"] <= 3.0 for line in captured.out.splitlines())
    counts = r"[1-5] windows answered, [0-9]+ pictures dropped, [0-9]+ windows skipped \(policy: latest\)"
    first, counted, *_ = captured.err.splitlines()
    assert first == f"{pipe}: windows of 1 s every 0.5 s, answers by {model.model}"
    assert re.fullmatch(f"{re.escape(str(pipe))}: {counts}", counted)


def test_a_reader_that_has_gone(model: ModelOptions, film: Path) -> None:
    """The command line ends quietly on BrokenPipeError (tests/cli/test_main.py), which so must come through."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", gone)
        with pytest.raises(BrokenPipeError):
            live(str(film), model=model, window=1.0, stride=0.5, drop="all")
        patch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # what is still in the buffer goes nowhere


def test_a_line_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three real actions one after the other, each in a window of its own, by the packaged model of actions."""
    actions = [0, 1, 9]
    pictures = [render_clip(action, 100 + action, num_frames=32, height=112, width=144) for action in actions]
    write_video(tmp_path / "film.mp4", np.concatenate(pictures), fps=16)
    assert live(str(tmp_path / "film.mp4"), model=ModelOptions(ACTIONS_MODEL), stride=2.0, drop="all") == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert len(lines) == 3 and "3 windows answered" in captured.err
    for i, (line, action) in enumerate(zip(lines, actions, strict=True)):
        form = rf"0:00:0{2 * i + 2}\.0  {ACTIONS[action]} [0-9.]+ %  delay [0-9.]+ s  dropped 0"
        assert re.fullmatch(form, line)


def test_nothing_above_the_threshold_is_a_line_too(
    model: ModelOptions, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert live(str(film), model=model, window=1.0, stride=1.0, drop="all", threshold=1.0) == 0
    assert all("  -  delay" in line for line in capsys.readouterr().out.splitlines())


def test_a_source_that_is_no_video_is_one_error(
    model: ModelOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.ts").write_bytes(b"nothing" * 100)
    with pytest.raises(VideoError, match=r"no\.ts: cannot be watched"):
        live(str(tmp_path / "no.ts"), model=model, window=1.0, stride=1.0)
    assert capsys.readouterr() == ("", "")


def test_what_was_answered_is_counted_before_an_error(
    model: ModelOptions, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sender that falls silent after three seconds of film."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(film.read_bytes())
                done.wait(60)

        thread = threading.Thread(target=send)
        thread.start()
        source = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(VideoError, match=f"{source}: silent for 0.5 s"):
            live(source, model=model, window=1.0, stride=1.0, drop="all", timeout=0.5, reconnect=0, json=True)
        done.set()
        thread.join()
    captured = capsys.readouterr()
    # The last pictures are inside a packet that never ends.
    assert [json.loads(line)["end"] for line in captured.out.splitlines()][:2] == [1.0, 2.0]
    assert captured.err.startswith(f"{source}: windows of 1 s every 1 s, ")
    assert "windows answered, 0 pictures dropped" in captured.err
