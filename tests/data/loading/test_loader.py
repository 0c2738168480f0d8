"""The same batches whatever the number of worker processes, of ranks, and of interruptions; clean ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import torch

from tests.video.clips import Recipe, draw, encode
from videomamba.data.loading.dataset import Batch
from videomamba.data.loading.loader import EvaluationLoader, TrainLoader
from videomamba.data.settings import Augmentation, DataSettings
from videomamba.schema import ClassLabel, Preprocess, VideoError, VideoMambaError, VideoRecord, VideoSet, Views
from videomamba.training.draws import Draws

PREPROCESS = Preprocess(num_frames=2, image_size=(32, 32))
NUM_VIDEOS = 11
BROKEN = 3


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    recipe = Recipe(".mp4", "libx264", {"preset": "ultrafast"})
    for i in range(NUM_VIDEOS):
        pictures = [draw(10 * i + frame, (32, 48)) for frame in range(6)]
        encode(folder / f"{i}.mp4", recipe._replace(size=(32, 48)), pictures=pictures)
    (folder / "broken.mp4").write_text("not a video")
    return folder


def video_set(folder: Path, *, broken: bool = False) -> VideoSet:
    records = [VideoRecord(str(folder / f"{i}.mp4"), ClassLabel(i % 2)) for i in range(NUM_VIDEOS)]
    if broken:
        records[BROKEN] = VideoRecord(str(folder / "broken.mp4"), ClassLabel(1))
    return VideoSet("videos", tuple(records), ("a", "b"))


def train_loader(videos: VideoSet, *, batch_size: int = 4, micro_batch: int | None = 2, **more: object) -> TrainLoader:
    data = {key: more.pop(key) for key in ("workers", "on_error", "cache") if key in more}
    augmentation = Augmentation.model_validate(more.pop("augmentation", {"repeats": 2, "crop_area": (0.5, 1.0)}))
    return TrainLoader(
        videos,
        preprocess=PREPROCESS,
        augmentation=augmentation,
        data=DataSettings.model_validate({"workers": 0, **data}),
        draws=Draws(1),
        batch_size=batch_size,
        micro_batch=micro_batch,
        **more,  # type: ignore[arg-type]
    )


def same(first: Batch, second: Batch) -> bool:
    assert first.labels is not None
    assert second.labels is not None
    told = [(batch.records, batch.failures, batch.planned) for batch in (first, second)]
    return told[0] == told[1] and torch.equal(first.video, second.video) and torch.equal(first.labels, second.labels)


def all_same(first: Iterator[list[Batch]], second: Iterator[list[Batch]]) -> bool:
    pairs = list(zip(first, second, strict=True))
    return len(pairs) > 0 and all(len(one) == len(other) and all(map(same, one, other)) for one, other in pairs)


def test_epochs_go_through_the_records_in_steps_and_micro_batches(videos: Path) -> None:
    loader = train_loader(video_set(videos))
    assert (loader.steps_per_epoch, loader.micro_batches, loader.waited) == (2, 2, 0.0)
    epochs = [list(loader.epoch(epoch)) for epoch in range(2)]
    for steps in epochs:
        assert [len(step) for step in steps] == [2, 2]
        records = [batch.records[::2] for step in steps for batch in step]
        assert len(set(chain(*records))) == 8
        for batch in chain(*steps):
            assert tuple(batch.video.shape) == (4, 3, 2, 32, 32)
            assert batch.records[::2] == batch.records[1::2]
            assert batch.labels is not None
            assert batch.labels.tolist() == [record % 2 for record in batch.records]
            assert not torch.equal(batch.video[0], batch.video[1])  # two clips of one video
    assert not same(epochs[0][0][0], epochs[1][0][0])
    assert loader.waited > 0
    assert all_same(iter(epochs[0]), loader.epoch(0))


def test_the_rest_of_an_interrupted_epoch_is_what_it_would_have_been(videos: Path) -> None:
    whole = list(train_loader(video_set(videos), batch_size=2).epoch(3))
    assert len(whole) == 5
    loader = train_loader(video_set(videos), batch_size=2)
    next(loader.epoch(2))
    for first in (0, 1, 4):
        assert all_same(iter(whole[first:]), loader.epoch(3, first_step=first))
    assert list(loader.epoch(3, first_step=5)) == []


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_steps_of_one(videos: Path, world: int) -> None:
    alone = list(train_loader(video_set(videos), micro_batch=1).epoch(0))
    ranks = [
        list(train_loader(video_set(videos), micro_batch=1, rank=rank, world=world).epoch(0)) for rank in range(world)
    ]
    together = [list(chain(*(process[step] for process in ranks))) for step in range(len(alone))]
    assert all_same(iter(alone), iter(together))


def test_workers_change_nothing_and_live_through_epochs(videos: Path) -> None:
    alone = train_loader(video_set(videos))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    for workers in (1, 2):
        with train_loader(video_set(videos), workers=workers) as loader:
            assert all_same(alone.epoch(0), loader.epoch(0))
            processes = worker_pids(loader)
            assert len(processes) == workers
            next(loader.epoch(1))  # and the rest of it never
            assert all_same(alone.epoch(2, 1), loader.epoch(2, 1))
            assert worker_pids(loader) == processes
        for process in processes:
            ended(process)
    assert torch.equal(torch.get_rng_state(), state)  # the training's draws do not depend on how data is loaded


def worker_pids(loader: TrainLoader) -> list[int]:
    assert loader._loader is not None
    return [worker.pid for worker in loader._loader._iterator._workers]


def ended(process: int) -> None:
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {process} still lives")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_video_stops_in_one_line_or_is_skipped(videos: Path, workers: int) -> None:
    broken = video_set(videos, broken=True)
    with (
        train_loader(broken, batch_size=1, micro_batch=1, workers=workers) as loader,
        pytest.raises(VideoError) as caught,
    ):
        for _ in loader.epoch(0):
            pass
    assert str(caught.value).startswith(f"{videos / 'broken.mp4'}: not a readable video")
    assert "\n" not in str(caught.value)
    with train_loader(broken, batch_size=1, micro_batch=1, workers=workers, on_error="skip") as loader:
        batches = list(chain(*loader.epoch(0)))
    (empty,) = [batch for batch in batches if not len(batch)]
    assert (empty.planned, empty.failures) == (2, ((str(videos / "broken.mp4"), caught.value.reason),))
    assert sum(len(batch) for batch in batches) == 2 * (NUM_VIDEOS - 1)


def test_kept_frames_give_the_same_batches_where_all_are_kept(videos: Path, tmp_path: Path) -> None:
    plain = train_loader(video_set(videos))
    kept = train_loader(video_set(videos), cache=tmp_path)
    for _ in range(2):
        assert all_same(plain.epoch(0), kept.epoch(0))
    assert len(list(tmp_path.rglob("*.npy"))) == 8


def test_one_pass_at_a_time(videos: Path) -> None:
    loader = train_loader(video_set(videos))
    first = loader.epoch(0)
    next(first)
    next(loader.epoch(1))
    with pytest.raises(ValueError, match="another pass through it has begun"):
        next(first)
    loader.close()
    loader.close()
    with pytest.raises(ValueError, match="this loader is closed"):
        next(loader.epoch(0))


def test_what_cannot_be_loaded_is_said_at_once(videos: Path) -> None:
    with pytest.raises(VideoMambaError, match="batch_size 4 cannot be divided by 3 processes"):
        train_loader(video_set(videos), micro_batch=None, world=3)
    with pytest.raises(VideoMambaError, match="no videos to train on"):
        train_loader(VideoSet("empty", (), ("a",)))


@pytest.mark.parametrize("block", [1, 3])
def test_blocks_of_an_evaluation_are_dealt_to_the_processes(videos: Path, block: int) -> None:
    broken = video_set(videos, broken=True)

    def loader(rank: int, world: int) -> EvaluationLoader:
        return EvaluationLoader(
            broken,
            preprocess=PREPROCESS,
            views=Views(2, 3),
            data=DataSettings(workers=0),
            rank=rank,
            world=world,
            block=block,
        )

    alone = loader(0, 1)
    blocks = list(alone)
    assert len(blocks) == len(alone) == -(-NUM_VIDEOS // block)
    assert [i for one in blocks for i in one.records] == [i for i in range(NUM_VIDEOS) if i != BROKEN]
    assert [i for one in blocks for i, _ in one.failures] == [BROKEN]
    assert all(len(one.video) == 6 * len(one) for one in blocks)
    for rank in range(2):
        for mine, expected in zip(loader(rank, 2), blocks[rank::2], strict=True):
            assert (mine.records, mine.failures) == (expected.records, expected.failures)
            assert torch.equal(mine.video, expected.video)


@pytest.mark.parametrize(
    ("frames", "views", "block"), [(8, Views(), 4), (8, Views(4, 3), 4), (16, Views(4, 3), 2), (64, Views(10, 3), 1)]
)
def test_blocks_of_an_evaluation_are_bounded_in_memory(frames: int, views: Views, block: int) -> None:
    many = VideoSet("val", tuple(VideoRecord(f"{i}.mp4", ClassLabel(0)) for i in range(12)), ("a",))
    with EvaluationLoader(
        many, preprocess=Preprocess(num_frames=frames), views=views, data=DataSettings(workers=0)
    ) as loader:
        assert len(loader) == 12 // block


_INTERRUPTED = """
import os, signal, sys, threading
from multiprocessing import forkserver, resource_sharer
from multiprocessing.connection import Client
from multiprocessing.process import current_process
from pathlib import Path
from tests.data.loading.test_loader import train_loader, video_set, worker_pids

connect = forkserver.connect_to_new_process

def interrupted_start(fds):
    try:
        return connect(fds)
    finally:
        os.killpg(0, signal.SIGINT)  # as a terminal does: to every process of the group

def interrupted_reception(ident):
    with Client(ident[0], authkey=current_process().authkey):  # of a worker's thread, who waits for what is wanted
        os.killpg(0, signal.SIGINT)

if __name__ == "__main__":
    videos = video_set(Path(sys.argv[1]))
    threading.Thread(target=threading.Event().wait, daemon=True).start()  # the system may give it the signals
    forkserver.connect_to_new_process = interrupted_start
    with train_loader(videos, workers=2) as loader:
        try:
            next(loader.epoch(0))
        except KeyboardInterrupt:
            print("interrupted", len(worker_pids(loader)), flush=True)
    forkserver.connect_to_new_process = connect
    with train_loader(videos, workers=1) as loader:
        steps = loader.epoch(0)
        next(steps)
        resource_sharer._resource_sharer.get_connection = interrupted_reception
        try:
            next(steps)
        except KeyboardInterrupt:
            del resource_sharer._resource_sharer.get_connection
            next(loader.epoch(1))  # from the same thread of the same worker, which has dealt with the broken connection
            print(*worker_pids(loader), flush=True)
        threading.Event().wait()
"""


def test_workers_outlive_an_interrupt_but_not_the_run(videos: Path, tmp_path: Path) -> None:
    """Whether it comes while they start or while the run receives a batch from them, nothing is printed."""
    script = tmp_path / "run.py"
    script.write_text(_INTERRUPTED)
    root = str(Path(__file__).resolve().parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(script), str(videos)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None
        said = run.stdout.readline(), run.stdout.readline()
        run.kill()
        _, err = run.communicate(timeout=60)
    assert "Traceback" not in err
    assert said[0] == "interrupted 2\n"
    ended(int(said[1]))


def test_a_worker_that_was_killed_is_one_line(videos: Path) -> None:
    with train_loader(video_set(videos), workers=1, batch_size=1, micro_batch=1) as loader:
        steps = loader.epoch(0)
        next(steps)
        os.kill(worker_pids(loader)[0], signal.SIGKILL)
        with pytest.raises(VideoMambaError, match=r"ended unexpectedly.*if __name__"):
            list(steps)
