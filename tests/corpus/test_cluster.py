"""Workers of a Ray cluster fill a folder as one process does, also when one of them is killed."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray")

from tests.cli.test_features import many_videos
from tests.corpus.test_folder import tree
from videomamba.corpus.cluster import ATTEMPTS, Worker
from videomamba.corpus.extract import extract
from videomamba.corpus.features import FeatureConfig
from videomamba.corpus.folder import Job
from videomamba.corpus.shards import read_shard
from videomamba.corpus.video_list import read_videos
from videomamba.schema import VideoMambaError


def test_a_worker_writes_a_shard(bundle: Path, clips: Path, tmp_path: Path) -> None:
    config = FeatureConfig(str(bundle))
    worker = Worker(config, config.weights_sha256())
    files = [clips / name for name in ("clip0.mp4", "notes.mp4", "clip1.mp4")]
    job = Job(tmp_path / "shard-00000.safetensors", ["a", "b", "c"], files, 32, per_frame=False)

    def ask(worker: Worker) -> tuple[str, str]:
        answer = worker({"job": np.array([json.dumps(asdict(job), default=str)], object)})
        return answer["videos"][0], answer["error"][0]

    videos, error = ask(worker)
    failures = json.loads(videos)
    assert error == "" and failures[0] is failures[2] is None and failures[1][0] == "b"
    first, second, third = read_shard(job.path)
    expected = config.open()(clips / "clip1.mp4").data.numpy()
    assert first is not None and second is None and third is not None and np.array_equal(third.data, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000.safetensors"]

    assert "has other weights" in ask(Worker(config, "0"))[1]
    assert "--device warp: not usable" in ask(Worker(replace(config, device="warp"), config.weights_sha256()))[1]
    job.path.unlink()
    attempts = tmp_path / ".shard-00000.safetensors.attempts"
    attempts.mkdir()
    for i in range(ATTEMPTS):
        (attempts / str(i)).touch()
    assert f"died {ATTEMPTS} times" in ask(worker)[1]


def test_ray_starts_its_own_workers(bundle: Path, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoMambaError, match="--engine ray starts its own workers"):
        extract(read_videos([clips]), tmp_path / "out", FeatureConfig(str(bundle)), engine="ray", world=2)


HEAD = """
import ray, sys
started = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])
print(started.address_info["gcs_address"], flush=True)
input()
"""


@pytest.fixture
def cluster() -> Iterator[dict[str, str]]:
    """A cluster of two CPU cores on the loopback device: the environment in which a command finds it."""
    environment = {
        **os.environ,
        **{"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)},
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray then listens on 127.0.0.1 alone, as on those systems
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        tempfile.TemporaryDirectory() as folder,  # pytest's own is too long for the names of Ray's sockets
        subprocess.Popen([sys.executable, "-c", HEAD, folder], env=environment, text=True, **pipes) as head,
    ):
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        assert address.startswith("127.0.0.1:")
        yield {**environment, "RAY_ADDRESS": address}
        head.communicate("\n")


def at_work(out: Path) -> set[int]:
    """The process ids of the workers that have a shard in work."""
    with suppress(FileNotFoundError):  # of a shard that is done meanwhile
        return {int(note.name.rpartition("-")[2]) for note in out.glob(".shard-*.attempts/*")}
    return set()


@pytest.mark.slow
def test_one_of_two_workers_is_killed(bundle: Path, cluster: dict[str, str], tmp_path: Path) -> None:
    videos = many_videos(tmp_path / "videos", 200)
    command = [sys.executable, "-m", "videomamba", "features", str(videos), "--model", str(bundle), "--json"]
    command += ["--views", "4x3", "--shard-size", "4", "--out"]
    # Each of Ray's workers has one thread.
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone = subprocess.run([*command, tmp_path / "alone"], env=one, capture_output=True, text=True)
    assert alone.returncode == 1 and json.loads(alone.stdout)["failed"] == 1

    out = tmp_path / "out"
    several = subprocess.Popen(
        [*command, out, "--engine", "ray"], env=cluster, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    seen: set[int] = set()
    while len(list(out.glob("shard-*"))) < 5 or len(seen) < 2 or not (workers := at_work(out)):
        assert several.poll() is None, several.communicate()
        time.sleep(0.005)
        seen |= at_work(out)
    os.kill(min(workers), signal.SIGKILL)
    assert len(list(out.glob("shard-*"))) < 40
    said, complained = several.communicate()
    assert several.returncode == 1, complained
    assert {**json.loads(said), "out": ""} == {**json.loads(alone.stdout), "out": ""}
    assert tree(out) == tree(tmp_path / "alone")
    assert "Traceback" not in complained and "100.mp4: cut short" in complained
