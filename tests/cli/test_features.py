"""`videomamba features` as a stranger meets it: one file, a table, a folder that survives being killed."""

from __future__ import annotations

import csv
import json
import multiprocessing
import multiprocessing.context
import os
import random
import shutil
import signal
import sys
import time
from multiprocessing.process import BaseProcess as Process
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from videomamba import create_model
from videomamba.cli import main
from videomamba.schema import Preprocess, VideoMambaError
from videomamba.serving.embedder import Embedder
from videomamba.synthetic.dataset import render_clip
from videomamba.video.encode import write_video
from videomamba.weights.bundle import save_bundle


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests are not themselves one of several processes."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `videomamba features`."""
    with pytest.raises(SystemExit) as stopped:
        main(["features", *map(str, arguments)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return int(stopped.value.code or 0), captured.out, captured.err


@pytest.fixture(scope="module")
def server() -> multiprocessing.context.ForkServerContext:
    """Starts processes that have PyTorch loaded but have run nothing: a start from nothing takes seconds."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs a fork server")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "pytest",
            "torch._dynamo",
            "videomamba.serving.embedder",
            "videomamba.corpus.extract",
            "videomamba.corpus.folder",
        ]
    )
    return context


def start(
    server: multiprocessing.context.ForkServerContext, said: Path, *arguments: object, **environment: str
) -> Process:
    """The command in a process of its own, what it prints in the file `said`."""
    process = server.Process(target=_command, args=(list(map(str, arguments)), said, environment))
    process.start()
    return process


def _command(arguments: list[str], said: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    main(["features", *arguments])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"/" for p in folder.rglob("*")}


def written(folder: Path) -> int:
    """Shards that are there."""
    return len(list(folder.glob("shard-*")))


def many_videos(folder: Path, count: int) -> Path:
    """`count` small videos, of which the middle one is corrupt."""
    folder.mkdir()
    kinds = []
    for i in range(min(count, 8)):
        kinds.append(folder.with_name(f"{folder.name}_{i}.mp4"))
        write_video(kinds[-1], render_clip(i, i, num_frames=8, height=64, width=64), fps=8)
    for i in range(count):
        (folder / f"{i:03}.mp4").hardlink_to(kinds[i % len(kinds)])
    (folder / f"{count // 2:03}.mp4").unlink()
    (folder / f"{count // 2:03}.mp4").write_bytes(kinds[0].read_bytes()[:200])
    return folder


def test_one_line_a_video(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, clips, "--model", bundle)
    lines = out.splitlines()
    assert code == 1 and len(lines) == 3
    assert lines[0].startswith(f"{clips / 'clip0.mp4'}  32 numbers, norm ") and lines[0].endswith(f", by {bundle}")
    assert len(err.splitlines()) == 1 and "notes.mp4" in err


def test_json_has_the_vectors(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, clips, "--model", bundle, "--views", "2x1", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and set(records[3]) == {"path", "error"}
    embedder = Embedder.from_pretrained(bundle)
    for record in records[:3]:
        expected = embedder(record["path"], "2x1")
        assert record["model"] == expected.model == str(bundle)
        assert np.array_equal(np.array(record["features"], np.float32), expected.data.numpy())
        assert (record["num_frames"], record["duration"]) == (12, 1.5)
    code, out, _ = run(capsys, clips / "clip0.mp4", "--model", bundle, "--per-frame", 4, "--json")
    record = json.loads(out)
    assert code == 0 and np.array(record["features"]).shape == (6, 32)
    assert record["timestamps"] == pytest.approx([i / 4 for i in range(6)])
    assert "interpolation" in record["temporal_positions"]


def test_one_video_into_one_file(bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = Embedder.from_pretrained(bundle)(clips / "clip0.mp4").data.numpy()
    for name in ("a.safetensors", "a.npy"):
        code, out, err = run(capsys, clips / "clip0.mp4", "--model", bundle, "--out", tmp_path / name)
        assert (code, err) == (0, "") and out.startswith(f"{tmp_path / name}: features 32 of ")
    assert np.array_equal(load_file(tmp_path / "a.safetensors")["features"], expected)
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected)
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        assert file.metadata() == {"path": str(clips / "clip0.mp4"), "model": str(bundle), "views": "1x1"}


def test_an_embedding_a_frame_into_files(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Embedder.from_pretrained(bundle).per_frame(clips / "clip0.mp4")
    for name in ("a.safetensors", "a.npy"):
        code, _, err = run(
            capsys, clips / "clip0.mp4", "--model", bundle, "--per-frame", "all", "--out", tmp_path / name
        )
        assert code == 0 and "interpolation" in err
    found = load_file(tmp_path / "a.safetensors")
    for data, times in (
        (found["features"], found["timestamps"]),
        (np.load(tmp_path / "a.npy"), np.load(tmp_path / "a.timestamps.npy")),
    ):
        assert np.array_equal(data, whole.frames.numpy()) and np.array_equal(times, whole.timestamps.numpy())


def test_a_bad_file_writes_nothing(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, clips / "notes.mp4", "--model", bundle, "--out", tmp_path / "a.npy")
    assert code == 1 and "notes.mp4" in err and list(tmp_path.iterdir()) == []


def test_weights_without_a_head(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = create_model("videomamba_micro", depth=1, dim=32, num_frames=2, image_size=32, num_classes=0)
    path = save_bundle(tmp_path / "trunk.safetensors", model, Preprocess(num_frames=2, image_size=(32, 32)))
    code, out, _ = run(capsys, clips / "clip0.mp4", "--model", path)
    assert code == 0 and "32 numbers" in out


@pytest.mark.parametrize("format", ["safetensors", "parquet"])
def test_an_embedding_a_frame_of_many(
    format: str, bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--model", bundle, "--per-frame", 4, "--out", tmp_path / "out", "--format", format)
    code, out, err = run(capsys, clips, *options)
    assert code == 1 and f"features of 3 videos in 1 shard, by {bundle}; 1 failed" in out and "exit code is 1" in out
    assert "notes.mp4" in err and "linear interpolation" in err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["videos"], manifest["failed"], manifest["frames"]) == (3, 1, 18)
    if format == "safetensors":
        shard = load_file(tmp_path / "out" / "shard-00000.safetensors")
        assert shard["features"].shape == (18, 32) and shard["offsets"].tolist() == [0, 6, 12, 18]
        expected = Embedder.from_pretrained(bundle).per_frame(clips / "clip1.mp4", fps=4)
        assert np.array_equal(shard["features"][6:12], expected.frames.numpy())
        assert np.array_equal(shard["timestamps"][6:12], expected.timestamps.numpy())


def test_a_list_and_a_second_look(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{clips / 'clip0.mp4'},1\nabsent.mp4,2\n")
    options = ("--model", bundle, "--out", tmp_path / "out", "--json")
    code, out, err = run(capsys, tmp_path / "list.csv", *options)
    assert code == 1 and json.loads(out)["failed"] == 1 and "absent.mp4: no such file" in err
    with (tmp_path / "out" / "failures.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["absent.mp4"]
    (tmp_path / "absent.mp4").hardlink_to(clips / "clip1.mp4")
    code, out, err = run(capsys, tmp_path / "list.csv", *options)
    assert code == 1 and json.loads(out)["failed"] == 1 and "absent.mp4" not in err
    code, out, _ = run(capsys, tmp_path / "list.csv", *options, "--retry")
    assert code == 0 and (json.loads(out)["videos"], json.loads(out)["failed"]) == (2, 0)
    code, out, err = run(capsys, tmp_path / "list.csv", *options, "--views", "2x1")
    assert (code, out) == (1, "") and "was begun with views 1x1, not 2x1" in err and len(err.splitlines()) == 1
    (tmp_path / "more.csv").write_text((tmp_path / "list.csv").read_text() + "third.mp4,3\n")
    code, _, err = run(capsys, tmp_path / "more.csv", *options)
    assert code == 1 and "another list, of 2 videos where this one has 3" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.npz"], "--out x.npz: give a .safetensors or .npy file for one video"),
        (["clip1.mp4", "--out", "x.npy"], "holds one video, here are 2"),
        (["--per-frame", "0"], "--per-frame 0: give frames a second above 0, or all"),
        (["--per-frame", "x"], "--per-frame x: give frames a second, such as 1, or all"),
        (["--per-frame", "nan"], "--per-frame nan: give frames a second above 0, or all"),
        (["--per-frame", "1", "--views", "4x3"], "remove --views and --frames"),
        (["--per-frame", "all", "--frames", "4"], "remove --views and --frames"),
        (["--views", "4"], "views '4'"),
        (["--retry"], "--retry, --format, --shard-size and --engine need a folder"),
        (["--engine", "ray", "--out", "x.npy"], "--retry, --format, --shard-size and --engine need a folder"),
        (["--out", "dir", "--shard-size", "0"], "--shard-size 0"),
        (["--out", ""], '""'),
        (["--device", "warp"], "--device warp"),
        (["--model", "absent.pth"], "absent.pth"),
    ],
)
def test_a_bad_option_is_one_clear_line(
    bundle: Path,
    clips: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(clips)
    before = set(clips.iterdir())
    model = [] if "--model" in arguments else ["--model", bundle]
    code, out, err = run(capsys, "clip0.mp4", *arguments, *model)
    assert (code, out) == (1, "") and message in err and len(err.splitlines()) == 1
    assert set(clips.iterdir()) == before


@pytest.mark.parametrize(
    ("option", "module", "package", "extra"),
    [
        (("--format", "parquet"), "parquet", "pyarrow", "parquet"),
        (("--engine", "ray"), "cluster", "ray", "ray"),
    ],
)
def test_an_absent_package_names_the_extra(
    option: tuple[str, str],
    module: str,
    package: str,
    extra: str,
    bundle: Path,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(sys.modules, f"videomamba.corpus.{module}", raising=False)
    monkeypatch.delattr(f"videomamba.corpus.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    code, _, err = run(capsys, clips, "--model", bundle, "--out", tmp_path / "out", *option)
    assert code == 1 and f"{' '.join(option)} needs" in err and not (tmp_path / "out").exists()
    assert f"pip install 'videomamba[{extra}]'" in err and len(err.splitlines()) == 1


def test_a_wrong_rank_is_one_line(bundle: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from videomamba.cli.features import features
    from videomamba.cli.model_options import NetworkOptions

    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(VideoMambaError, match="RANK=2 WORLD_SIZE=2: RANK must count from 0"):
        features((str(clips),), network=NetworkOptions(str(bundle)), out=str(tmp_path / "out"))


def _kill_and_go_on(
    server: multiprocessing.context.ForkServerContext,
    tmp_path: Path,
    bundle: Path,
    *,
    videos: int,
    kills: int,
    shard_size: int,
    wait: float,
) -> None:
    """Kills a run `kills` times, each some way after it has begun to work; then lets it end."""
    folder, said = many_videos(tmp_path / "videos", videos), tmp_path / "said"
    options = (folder, "--model", bundle, "--shard-size", shard_size, "--views", "4x3", "--out")
    undisturbed = start(server, said, *options, tmp_path / "undisturbed", OMP_NUM_THREADS="1")
    undisturbed.join()
    assert undisturbed.exitcode == 1 and said.read_text().endswith("the exit code is 1\n")
    expected = tree(tmp_path / "undisturbed")
    assert expected["failures.csv"].count(b"\n") == 2 and f"{videos // 2:03}.mp4".encode() in expected["failures.csv"]

    out, draw, killed = tmp_path / "out", random.Random(0), 0
    for _ in range(3 * kills):
        before = written(out)
        process = start(server, said, *options, out, OMP_NUM_THREADS="1")
        while process.is_alive() and written(out) == before:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, wait))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        if killed == kills:
            break
        if process.exitcode == 1:  # it was done before the signal came
            shutil.rmtree(out)
            killed = 0
    assert killed == kills and tree(out) != expected
    last = start(server, said, *options, out, OMP_NUM_THREADS="1")
    last.join()
    assert last.exitcode == 1 and tree(out) == expected


def test_killed_twice(server: multiprocessing.context.ForkServerContext, bundle: Path, tmp_path: Path) -> None:
    _kill_and_go_on(server, tmp_path, bundle, videos=20, kills=2, shard_size=3, wait=0.05)


@pytest.mark.slow
def test_killed_ten_times_over_500_videos(
    server: multiprocessing.context.ForkServerContext, bundle: Path, tmp_path: Path
) -> None:
    _kill_and_go_on(server, tmp_path, bundle, videos=500, kills=10, shard_size=20, wait=0.3)


def test_processes_share_the_work(
    server: multiprocessing.context.ForkServerContext, bundle: Path, tmp_path: Path
) -> None:
    options = (many_videos(tmp_path / "videos", 20), "--model", bundle, "--shard-size", 3, "--out")
    alone = start(server, tmp_path / "alone", *options, tmp_path / "one", OMP_NUM_THREADS="1")
    alone.join()
    several = [
        start(server, tmp_path / str(i), *options, tmp_path / "two", RANK=str(i), WORLD_SIZE="2", OMP_NUM_THREADS="1")
        for i in (0, 1)
    ]
    for process in several:
        process.join()
    codes = {process.exitcode for process in several}
    assert alone.exitcode == 1 and 1 in codes and codes <= {0, 1}
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    told = [(tmp_path / str(i)).read_text() for i in (0, 1)]
    assert sum("010.mp4: " in text for text in told) == 1, "each video is one process's"
