"""Several processes make the run, and find the numbers, of a single one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from tests.recipes.runs import OtherTeacher, RecipeRuns, complaint, distance, events, losses, make_run, recipe_of, tiny
from tests.recipes.workload import told
from videomamba.data.loading.order import epoch_order
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import DataSettings
from videomamba.recipes.classify import train
from videomamba.recipes.config import RecipeConfig
from videomamba.recipes.evaluate import evaluate
from videomamba.recipes.load import to_yaml
from videomamba.recipes.pretrain import pretrain
from videomamba.training.checkpoint import checkpoints
from videomamba.training.draws import Draws
from videomamba.training.tracking import read_metrics

TIMEOUT = 240
PLAIN: dict[str, dict[str, Any]] = {"model": {"drop_path": 0.0}, "optim": {"clip_grad": 0.5}}
"""Drop path draws for each process: the one thing in which the number of processes shows."""
UNMIXED = {**PLAIN, "augment": {"mixup": 0, "cutmix": 0}}
"""Where videos are left out, the others of their pass are paired anew."""
FROZEN = {**PLAIN, "align": {"legacy": True}, "teacher": {"weights": None}}
"""With the original's loss the last block has no gradient."""
SKIPPING = {**UNMIXED, "data": {"on_error": "skip"}}


def torchrun(*arguments: object, processes: int = 2) -> list[str]:
    """Rendezvous at a free port of this machine alone."""
    own = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), *own]
    return [*launcher, *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(Path.cwd())}


def settings(config: RecipeConfig) -> dict[str, Any]:
    return config.model_dump(mode="json")


def together(folder: Path, tasks: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What each of two processes answers to all `tasks`, by rank."""
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(tasks))
    command = torchrun("-m", "tests.recipes.workload", folder / "plan.json", folder)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def task(config: RecipeConfig, **more: Any) -> dict[str, Any]:
    """A training for `workload`."""
    return {"recipe": recipe_of(config).command, "train": settings(config), **more}


@pytest.fixture(scope="module")
def single(recipe: RecipeRuns, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    out = tmp_path_factory.mktemp("single") / "run"
    make_run(recipe.tiny(videos, out, **PLAIN))
    return out


def broken(videos: Path, root: Path, *, half: bool) -> Path:
    """The data with a broken video in the validation split; with `half`, also all that the second process sees first."""
    shutil.copytree(videos, root)
    data = DataSettings(root=root)
    Path(read_dataset(data, "val").records[1].path).write_text("not a video")
    if half:
        records = read_dataset(data, "train").records
        for place in epoch_order(len(records), Draws(0).order(0))[2:4]:
            Path(records[place].path).write_text("not a video")
    return root


class Done:
    """Two processes, started once for all the tests of this module, and the folders that they wrote."""

    def __init__(self, recipe: RecipeRuns, videos: Path, single: Path, folder: Path) -> None:
        self.folder = folder
        self.halves = broken(videos, folder / "halves", half=True)
        self.missing = broken(videos, folder / "missing", half=False)
        begun = recipe.tiny(videos, folder / "begun", **PLAIN, run={"max_steps": 3})
        make_run(begun)
        order = epoch_order(12, Draws(0).order(0))
        tasks: list[dict[str, Any]] = [
            task(recipe.tiny(videos, folder / "parts", **PLAIN, run={"micro_batch": 2})),
            task(recipe.tiny(videos, folder / "bf16", **PLAIN, run={"precision": "bf16"})),
            task(recipe.tiny(videos, folder / "begun", **PLAIN)),
            task(recipe.tiny(self.halves, folder / "skipped", **SKIPPING)),
            task(recipe.tiny(videos, folder / "spoilt", **UNMIXED), poison=int(order[2])),
            self.measuring(recipe, single),
        ]
        if recipe.shards:
            for more in ({"max_steps": 4}, {}):
                tasks.append(task(recipe.tiny(videos, folder / "sharded", **PLAIN, run={"strategy": "fsdp", **more})))
        if recipe.command == "pretrain":
            whole, sharded = {"max_steps": 3}, {"max_steps": 3, "strategy": "fsdp"}
            tasks.append(task(recipe.tiny(videos, folder / "frozen", **FROZEN, run=whole), other=True))
            tasks.append(task(recipe.tiny(videos, folder / "frozen_shards", **FROZEN, run=sharded), other=True))
        self.ranks = together(folder / "answers", tasks)

    def measuring(self, recipe: RecipeRuns, single: Path) -> dict[str, Any]:
        """What the validation videos are for, with one that cannot be read."""
        if recipe.number is not None:
            return task(recipe.tiny(self.missing, self.folder / "missed", **PLAIN))
        return {"evaluate": str(single / "last.safetensors"), "data": {"root": str(self.missing)}, "views": "3x3"}


@pytest.fixture(scope="module")
def done(recipe: RecipeRuns, videos: Path, single: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return Done(recipe, videos, single, tmp_path_factory.mktemp("processes"))


def close(first: Path, second: Path, tolerance: float) -> None:
    for (step, one), (other_step, other) in zip(losses(first), losses(second), strict=True):
        assert step == other_step and one == pytest.approx(other, abs=tolerance)
    assert distance(first, second) < tolerance


def test_two_processes_equal_one(done: Done, single: Path) -> None:
    """Augmentation, mixing, accumulation and the average of the weights among it; the two hold half of each batch."""
    close(done.folder / "parts", single, 1e-5)
    assert distance(done.folder / "parts", single, "best") < 1e-5


def test_two_processes_with_products_in_bf16(recipe: RecipeRuns, done: Done, videos: Path, tmp_path: Path) -> None:
    make_run(recipe.tiny(videos, tmp_path / "run", **PLAIN, run={"precision": "bf16"}))
    close(done.folder / "bf16", tmp_path / "run", recipe.rounding)


def test_two_processes_go_on_where_one_stopped(done: Done, single: Path) -> None:
    close(done.folder / "begun", single, 1e-5)


def test_sharded_weights_equal_whole_ones_and_resume(
    recipe: RecipeRuns, done: Done, single: Path, videos: Path
) -> None:
    if not recipe.shards:
        text = complaint(recipe.tiny(videos, done.folder / "sharded", run={"strategy": "fsdp"}))
        assert text.startswith("run.strategy: fsdp is not offered with a text tower")
        return
    close(done.folder / "sharded", single, 1e-5)
    # One process reads the checkpoint of the two.
    (done.folder / "sharded" / "last.safetensors").unlink()
    newest = checkpoints(done.folder / "sharded" / "checkpoints")[-1]
    newest.unlink()
    make_run(recipe.tiny(videos, done.folder / "sharded", **PLAIN))
    close(done.folder / "sharded", single, 1e-5)


def test_a_process_without_a_readable_video_waits_for_none(recipe: RecipeRuns, done: Done, tmp_path: Path) -> None:
    progress = [answers[3] for answers in done.ranks]
    assert progress[0]["step"] == progress[1]["step"] == 6
    failed = progress[0]["failed_videos"]
    make_run(recipe.tiny(done.halves, tmp_path / "run", **SKIPPING))
    assert sorted(events(tmp_path / "run")) == sorted(events(done.folder / "skipped"))
    assert len(failed) == 2 and len(events(done.folder / "skipped")) == 4
    assert progress[0]["failed_videos"] == progress[1]["failed_videos"]
    close(done.folder / "skipped", tmp_path / "run", 1e-5)


def test_a_sample_of_another_process_is_named(done: Done, videos: Path) -> None:
    """It is in the share of the second process, whose gradients spoil those of the first."""
    path = read_dataset(DataSettings(root=videos), "train").records[epoch_order(12, Draws(0).order(0))[2]].path
    assert events(done.folder / "spoilt")[0] == f"skipped step 1: the loss of {path} (and of 1 more) is not finite"
    assert [answers[4]["skipped_steps"] for answers in done.ranks] == [2, 2]


def test_evaluation_gives_the_number_of_one_process(
    recipe: RecipeRuns, done: Done, single: Path, tmp_path: Path
) -> None:
    """Exactly, where the weights are the same."""
    if recipe.number is not None:
        make_run(recipe.tiny(done.missing, tmp_path / "run", **PLAIN))
        found = [validation(out, recipe.number) for out in (done.folder / "missed", tmp_path / "run")]
        assert found[0] == pytest.approx(found[1], abs=1e-5)
        info = json.loads(header(done.folder / "missed" / "last.safetensors")["info"])
        assert any(f"1 {word}" in info["validation"] for word in ("not read", "missed"))
        return
    data = DataSettings(root=done.missing, workers=0)
    alone = told(evaluate(single / "last.safetensors", data, views="3x3", device="cpu"))
    assert alone["num_missed"] == 1 and "not" in alone["failures"] and "3 clips x 3 crops" in alone["protocol"]
    assert alone == done.ranks[0][5] == done.ranks[1][5]


def validation(out: Path, number: str) -> list[float]:
    return [record[number] for record in read_metrics(out) if record["kind"] == "epoch" and number in record]


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


@pytest.mark.parametrize("recipe", ["pretrain"], indirect=True)
def test_layers_without_gradients_stop_no_process(recipe: RecipeRuns, done: Done, videos: Path, tmp_path: Path) -> None:
    pretrain(recipe.tiny(videos, tmp_path / "run", **FROZEN, run={"max_steps": 3}), teacher=OtherTeacher())
    for name in ("frozen", "frozen_shards"):
        close(done.folder / name, tmp_path / "run", 1e-5)


@pytest.mark.slow
def test_processes_that_are_asked_to_stop_go_on(videos: Path, tmp_path: Path) -> None:
    """torchrun hands the signal on; they agree on the step after which they write a checkpoint."""
    long: dict[str, Any] = {**PLAIN, "optim": {"epochs": 20}}
    train(tiny(videos, tmp_path / "whole", **long))
    (tmp_path / "run.yaml").write_text(to_yaml(tiny(videos, tmp_path / "run", **long, run={"checkpoint_minutes": 9})))
    command = torchrun("-m", "videomamba", "train", "--config", tmp_path / "run.yaml")
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + TIMEOUT
    while not (path := tmp_path / "run" / "metrics.jsonl").exists() or path.stat().st_size < 2000:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0
    assert "interrupted; finished work is kept" in told
    (stopped,) = checkpoints(tmp_path / "run" / "checkpoints")
    assert stopped.name < "step_00000060.pt"
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    close(tmp_path / "run", tmp_path / "whole", 1e-5)


@pytest.mark.slow
def test_an_error_of_one_process_ends_all(videos: Path, tmp_path: Path) -> None:
    """A broken video in the share of the second: its error is shown, no process waits, and once repaired it resumes."""
    root = shutil.copytree(videos, tmp_path / "videos")
    records = read_dataset(DataSettings(root=root), "train").records
    path = Path(records[epoch_order(12, Draws(0).order(0))[-1]].path)
    path.write_text("not a video")
    (tmp_path / "run.yaml").write_text(to_yaml(tiny(root, tmp_path / "run", **PLAIN)))
    command = torchrun("-m", "videomamba", "train", "--config", tmp_path / "run.yaml")
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode != 0 and f"videomamba: {path}: not a readable video" in done.stderr
    assert len(losses(tmp_path / "run")) == 2
    shutil.copy(videos / path.relative_to(root), path)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    train(tiny(videos, tmp_path / "whole", **PLAIN))
    close(tmp_path / "run", tmp_path / "whole", 1e-5)
