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

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.video.clips import Recipe, draw, encode
from videomamba.data.augment.pipeline import augment_clip, choose_frames
from videomamba.data.clips.masks import attention_draws, visible_patches
from videomamba.data.loading.dataset import Batch
from videomamba.data.loading.loader import EvaluationLoader, TrainLoader
from videomamba.data.loading.record_video import open_record
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import Augmentation, DataSettings, MaskSettings
from videomamba.schema import (
    ClassLabel,
    Preprocess,
    Symmetries,
    VideoError,
    VideoMambaError,
    VideoRecord,
    VideoSet,
    Views,
)
from videomamba.training.draws import Draws

PREPROCESS = Preprocess(num_frames=2, image_size=(32, 32))
NUM_VIDEOS = 11
BROKEN = 3
GRID = (2, 4, 4)
TUBE, ATTENTION = ({"mask": MaskSettings(name=name, ratio=0.75), "grid": GRID} for name in ("tube", "attention"))
STILL = {"frames": "middle", "crop": "centre"}


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
    told = [(batch.records, batch.failures, batch.planned) for batch in (first, second)]
    fields = ("video", "labels", "visible", "draws")
    return told[0] == told[1] and all(alike(getattr(first, name), getattr(second, name)) for name in fields)


def alike(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


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
            assert (batch.visible, batch.draws) == (None, None)
    assert not same(epochs[0][0][0], epochs[1][0][0])
    assert loader.waited > 0
    assert all_same(iter(epochs[0]), loader.epoch(0))


@pytest.mark.parametrize("masked", [{}, TUBE, ATTENTION])
def test_the_rest_of_an_interrupted_epoch_is_what_it_would_have_been(videos: Path, masked: dict[str, object]) -> None:
    whole = list(train_loader(video_set(videos), batch_size=2, **masked).epoch(3))
    assert len(whole) == 5
    loader = train_loader(video_set(videos), batch_size=2, **masked)
    next(loader.epoch(2))
    for first in (0, 1, 4):
        assert all_same(iter(whole[first:]), loader.epoch(3, first_step=first))
    assert list(loader.epoch(3, first_step=5)) == []


@pytest.mark.parametrize(("world", "masked"), [(2, {}), (4, {}), (2, TUBE), (2, ATTENTION)])
def test_processes_share_the_steps_of_one(videos: Path, world: int, masked: dict[str, object]) -> None:
    alone = list(train_loader(video_set(videos), micro_batch=1, **masked).epoch(0))
    ranks = [
        list(train_loader(video_set(videos), micro_batch=1, rank=rank, world=world, **masked).epoch(0))
        for rank in range(world)
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


@pytest.mark.parametrize("masked", [TUBE, ATTENTION])
def test_workers_draw_the_same_masks(videos: Path, masked: dict[str, object]) -> None:
    with train_loader(video_set(videos), workers=2, **masked) as loader:
        assert all_same(train_loader(video_set(videos), **masked).epoch(0), loader.epoch(0))


@pytest.mark.parametrize("masked", [TUBE, ATTENTION])
def test_each_clip_has_a_mask_and_is_the_same_without(videos: Path, masked: dict[str, object]) -> None:
    videos_ = video_set(videos)
    augmentation = Augmentation(repeats=2, crop_area=(0.5, 1.0))
    order = [record for step in train_loader(videos_).epoch(1) for batch in step for record in batch.records[::2]]
    with_masks = chain(*train_loader(videos_, **masked).epoch(1))
    places = iter(enumerate(order))
    for plain, batch in zip(chain(*train_loader(videos_).epoch(1)), with_masks, strict=True):
        assert torch.equal(plain.video, batch.video) and alike(plain.labels, batch.labels)
        expected = []
        for _ in range(2):
            position, record = next(places)
            generator = Draws(1).sample(1, position)
            with open_record(videos_.records[record]) as opened:
                chosen = choose_frames(opened.num_frames, PREPROCESS, augmentation, generator)
                frames = opened.frames(chosen)
            for _ in range(2):
                augment_clip(frames, None, PREPROCESS, augmentation, Symmetries(), generator)
            expected += [mask_of(masked, generator) for _ in range(2)]
        found, absent = (batch.visible, batch.draws) if masked is TUBE else (batch.draws, batch.visible)
        assert absent is None and found is not None and torch.equal(found, torch.stack(expected))
        assert found.dtype == (torch.int64 if masked is TUBE else torch.float32)
        assert found.shape == ((4, 8) if masked is TUBE else (4, 2, 16))
        assert not torch.equal(found[0], found[1])
        moved = batch.to("meta")
        assert {one.device.type for one in (moved.video, moved.visible, moved.draws) if one is not None} == {"meta"}


def mask_of(masked: dict[str, object], generator: np.random.Generator) -> Tensor:
    if masked is ATTENTION:
        return attention_draws(GRID, generator)
    return torch.from_numpy(visible_patches("tube", GRID, 0.75, generator))


def test_masks_that_cannot_be_are_refused_at_once(videos: Path) -> None:
    with pytest.raises(VideoMambaError, match=r"^mask.ratio: 0.1 of 4 rows masks nothing; give 0 or at least 0.25$"):
        train_loader(video_set(videos), mask=MaskSettings(name="clip-row", ratio=0.1), grid=GRID)
    for lonely in ({"mask": MaskSettings()}, {"grid": GRID}):
        with pytest.raises(ValueError, match="a mask needs the grid"):
            train_loader(video_set(videos), **lonely)


@pytest.mark.parametrize("workers", [0, 1])
def test_unlabelled_videos_are_mirrored_and_turned(videos: Path, tmp_path: Path, workers: int) -> None:
    (tmp_path / "train.csv").write_text("".join(f"{videos / f'{i}.mp4'}\n" for i in range(5)))
    unlabelled = read_dataset(DataSettings(root=tmp_path), "train", annotated=False)
    plain = next(iter(EvaluationLoader(unlabelled, preprocess=PREPROCESS, data=DataSettings(workers=workers), block=4)))
    assert (plain.records, plain.failures, plain.video.shape) == ((0, 1, 2, 3), (), (4, 3, 2, 32, 32))
    for more, turns in (
        ({}, [[], [3]]),
        ({"flip": "off", "flip_vertical": True, "reverse": True}, [[], [1], [2], [1, 2]]),
    ):
        seen = set()
        with train_loader(unlabelled, augmentation={**STILL, **more}, workers=workers) as loader:
            for epoch in range(5):
                for batch in chain(*loader.epoch(epoch)):
                    assert (batch.labels, batch.targets) == (None, None)
                    for record, clip in pairs(batch):
                        original = plain.video[record]
                        seen.add(next(i for i, turn in enumerate(turns) if torch.equal(clip, original.flip(turn))))
        assert seen == set(range(len(turns)))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"repeats": 2},
        {"flip": "off"},
        {"mixup": 0.5, "mix_probability": 0},
        {"label_smoothing": 0.1},
        {"flip": "auto"},
        {"flip": "on"},
        {"flip_vertical": True},
        {"reverse": True},
        {"frames": "random"},
        {"crop": "shift"},
        {"crop": "area"},
        {"crop": "multiscale"},
        {"auto_augment": "rand-m7-n4-mstd0.5-inc1"},
        {"color_jitter": 0.3},
        {"erase": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_what_is_the_same_in_every_epoch_says_so(videos: Path, change: dict[str, object], mirrored: bool) -> None:
    unchanged = (0, 1)
    symmetries = Symmetries(unchanged if mirrored else None, unchanged, unchanged)
    if change.get("flip") == "on" and not mirrored:
        pytest.skip("refused: the class of a mirrored video is unknown")
    records = video_set(videos).records[:4]
    loader = train_loader(VideoSet("videos", records, ("a", "b"), symmetries), augmentation={**STILL, **change})
    augmentation = Augmentation.model_validate({**STILL, **change})
    epochs = [
        {record: clip for batch in chain(*loader.epoch(epoch)) for record, clip in pairs(batch)} for epoch in range(3)
    ]
    constant = all(torch.equal(epochs[0][record], epoch[record]) for epoch in epochs for record in range(4))
    assert augmentation.fixed(symmetries) == constant


def pairs(batch: Batch) -> Iterator[tuple[int, Tensor]]:
    return zip(batch.records, batch.video, strict=True)


def test_mixing_is_no_clip_of_its_own() -> None:
    for name in ("mixup", "cutmix"):
        assert not Augmentation.model_validate({**STILL, name: 0.5}).fixed(Symmetries())
    assert not Augmentation().fixed(Symmetries())


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
    for masked, shapes in ((TUBE, ((0, 8), None)), (ATTENTION, (None, (0, 2, 16)))):
        with train_loader(broken, batch_size=1, micro_batch=1, on_error="skip", **masked) as loader:
            (empty,) = [batch for batch in chain(*loader.epoch(0)) if not len(batch)]
        assert tuple(one if one is None else tuple(one.shape) for one in (empty.visible, empty.draws)) == shapes
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
