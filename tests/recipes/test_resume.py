"""A run that is stopped, killed, or out of disk resumes as if nothing had happened; another run is refused."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.recipes.runs import (
    CLASSES,
    Killed,
    RecipeRuns,
    at_call,
    complaint,
    die,
    losses,
    make_run,
    same_weights,
    tiny,
    train_limited,
    train_quietly,
    train_until_killed,
)
from videomamba.recipes.classify import train
from videomamba.training.checkpoint import checkpoints, load_checkpoint
from videomamba.training.step import Stepper

STEPS = 6
TIMEOUT = 240


def half_a_save(content: object, path: Path) -> None:
    Path(path).write_bytes(b"half of a checkpoint")
    raise Killed


def asked_to_stop(step: Callable[..., Any], number: int) -> Callable[..., Any]:
    """A step during which the signal comes."""

    def stopped(*given: Any, **named: Any) -> Any:
        os.kill(os.getpid(), number)
        return step(*given, **named)

    return stopped


INTERRUPTIONS = {
    "first step": (Stepper, "step", 1, die),
    "first checkpoint half written": (torch, "save", 1, half_a_save),
    "a step with steps before it": (Stepper, "step", 3, die),
    "a checkpoint not yet in its place": (Path, "replace", 6, die),
    "old checkpoints not yet removed": (Path, "unlink", 1, die),
}


def test_a_run_goes_on_from_wherever_it_was_interrupted(
    recipe: RecipeRuns, videos: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe.tiny(videos, tmp_path / "run")
    unwritten = {"bundle not written": (*recipe.saves, 1, die), "last bundle not written": (*recipe.saves, 2, die)}
    for owner, name, number, then in (INTERRUPTIONS | unwritten).values():
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, at_call(number, getattr(owner, name), then))
            make_run(config)
    assert make_run(config).progress.step == STEPS
    assert losses(tmp_path / "run") == losses(uninterrupted)
    assert same_weights(tmp_path / "run", uninterrupted) and same_weights(tmp_path / "run", uninterrupted, "best")


def test_a_run_goes_on_when_it_was_killed(
    recipe: RecipeRuns, videos: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """Really killed, so that what it was writing is left behind."""
    config = recipe.tiny(videos, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    context = multiprocessing.get_context("forkserver")
    for where in ("save", "rename"):
        process = context.Process(target=train_until_killed, args=(config, where, tmp_path / "log"))
        process.start()
        process.join(TIMEOUT)
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "log").read_text()
        assert [path for path in folder.iterdir() if path.name.startswith(".step_")]
        assert checkpoints(folder)
    make_run(config)
    assert [path.name for path in sorted(folder.iterdir())] == ["step_00000005.pt", "step_00000006.pt"]
    assert losses(tmp_path / "run") == losses(uninterrupted) and same_weights(tmp_path / "run", uninterrupted)


@pytest.mark.slow
def test_ten_kills_at_random_moments(recipe: RecipeRuns, videos: Path, tmp_path: Path) -> None:
    epochs = 200  # takes longer than the kills together, on a fast machine too
    long = {"optim": {"epochs": epochs}, "run": {"checkpoint_steps": 1}}
    make_run(recipe.tiny(videos, tmp_path / "whole", **long))
    config, draw = recipe.tiny(videos, tmp_path / "run", **long), random.Random(0)
    context = multiprocessing.get_context("forkserver")
    folder = tmp_path / "run" / "checkpoints"
    for kill in range(10):
        before = [path.name for path in checkpoints(folder)]
        process = context.Process(target=train_quietly, args=(config, tmp_path / "log"))
        process.start()
        end = time.monotonic() + TIMEOUT
        # Every other one wherever it stands, which is mostly before its first step; the others after a checkpoint.
        while kill % 2 and [path.name for path in checkpoints(folder)] == before and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.2 if kill % 2 else 4))
        process.kill()
        process.join(TIMEOUT)
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert load_checkpoint(checkpoints(folder)[-1]).progress.step < 3 * epochs, "it was killed when it had ended"
    make_run(config)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert same_weights(tmp_path / "run", tmp_path / "whole")


def test_asked_to_stop_it_writes_a_checkpoint_first(
    recipe: RecipeRuns, videos: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe.tiny(videos, tmp_path / "run", run={"checkpoint_minutes": 10})
    for number, steps in ((signal.SIGTERM, ("2",)), (signal.SIGINT, ("2", "4"))):
        before = signal.getsignal(number)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Stepper, "step", at_call(2, Stepper.step, asked_to_stop(Stepper.step, number)))
            make_run(config)
        assert signal.getsignal(number) is before
        names = [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")]
        assert names == [f"step_0000000{step}.pt" for step in steps]
    make_run(config)
    assert losses(tmp_path / "run") == losses(uninterrupted) and same_weights(tmp_path / "run", uninterrupted)


def test_asked_twice_it_stops_at_once(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = asked_to_stop(asked_to_stop(Stepper.step, signal.SIGTERM), signal.SIGTERM)
    monkeypatch.setattr(Stepper, "step", twice)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(videos, tmp_path / "run"))
    assert losses(tmp_path / "run") == [] and not checkpoints(tmp_path / "run" / "checkpoints")


def test_a_run_that_has_ended_is_not_made_again(
    videos: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(reference, tmp_path / "run")
    monkeypatch.setattr(Stepper, "step", die)
    assert train(tiny(videos, tmp_path / "run")).progress.step == STEPS
    assert losses(tmp_path / "run") == losses(reference)


def test_a_run_in_parts_is_the_whole_run(recipe: RecipeRuns, videos: Path, uninterrupted: Path, tmp_path: Path) -> None:
    for steps, keep in ((2, 5), (5, 1)):
        config = recipe.tiny(videos, tmp_path / "run", run={"max_steps": steps, "keep": keep})
        assert make_run(config).progress.step == steps
    make_run(recipe.tiny(videos, tmp_path / "run"))
    assert losses(tmp_path / "run") == losses(uninterrupted) and same_weights(tmp_path / "run", uninterrupted)


def test_pruning_keeps_as_many_checkpoints_as_asked(videos: Path, reference: Path, tmp_path: Path) -> None:
    train(tiny(videos, tmp_path / "run", run={"keep": 4, "max_steps": 5}))
    names = [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")]
    assert names == [f"step_0000000{i}.pt" for i in (2, 3, 4, 5)]
    assert len(checkpoints(reference / "checkpoints")) == 2


# What may not be resumed


def test_other_settings_are_refused_by_name(videos: Path, reference: Path) -> None:
    newest = checkpoints(reference / "checkpoints")[-1]
    for key, value in (("lr", 1e-3), ("batch_size", 2)):
        text = complaint(tiny(videos, reference, optim={key: value}))
        assert text.startswith(f"{newest}: belongs to a run with optim.{key} ")
        assert text.endswith("; choose another folder, the same settings to resume it, or --fresh to replace it")
    assert "with run.seed 0, not 5" in complaint(tiny(videos, reference, run={"seed": 5}))
    text = complaint(tiny(videos, reference, run={"resume": False}))
    assert (
        text
        == f"{newest.parent}: already has a run; choose another folder, resume that run, or replace it with --fresh"
    )


def test_a_damaged_checkpoint_gives_way_to_the_one_before(videos: Path, reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "run")
    newest = checkpoints(tmp_path / "run" / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    text = complaint(tiny(videos, tmp_path / "run"))
    assert (
        text.startswith(f"{newest}: is damaged")
        and "remove it to resume from an earlier one, or begin anew with --fresh" in text
    )
    newest.unlink()
    train(tiny(videos, tmp_path / "run"))
    assert losses(tmp_path / "run") == losses(reference) and same_weights(tmp_path / "run", reference)


def test_other_data_are_refused(videos: Path, reference: Path, tmp_path: Path) -> None:
    newest = checkpoints(reference / "checkpoints")[-1]
    moved = shutil.copytree(videos, tmp_path / "moved")
    train(tiny(moved, reference))
    (moved / CLASSES[1] / "0.mp4").unlink()
    (moved / CLASSES[1] / "1.mp4").unlink()
    text = complaint(tiny(moved, reference))
    assert text.startswith(f"{newest}: belongs to a run of 12 training videos, not 10; choose another folder")
    shutil.rmtree(moved / CLASSES[1])
    text = complaint(tiny(moved, reference))
    assert text.startswith(f"{newest}: belongs to a run of 3 classes, not 2 ('{CLASSES[1]}' is in one of them only)")


def test_what_a_run_says_of_the_one_before(videos: Path, reference: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "run", list[str]()
    for steps in (2, 4):
        train(tiny(videos, out, run={"max_steps": steps}), notify=lines.append)
    assert lines == [f"{out}: resumed at step 2 of 4"]
    lines.clear()
    train(tiny(videos, out, run={"max_steps": 4}), notify=lines.append)
    (line,) = lines
    assert line.startswith(f"{out}: finished before, at step 4, with 12 videos of 3 classes; nothing is trained now")


def test_a_fresh_run_has_nothing_of_the_one_before(
    videos: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    train(tiny(videos, out, optim={"lr": 1e-3, "epochs": 1}, run={"keep": 9}))
    lines: list[str] = []
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Stepper, "step", die)
        train(tiny(videos, out), fresh=True, notify=lines.append)
    assert sorted(path.name for path in out.iterdir()) == ["checkpoints", "config.yaml", "metrics.csv", "metrics.jsonl"]
    assert lines == [] and losses(out) == [] and not checkpoints(out / "checkpoints")
    train(tiny(videos, out), fresh=True)
    assert losses(out) == losses(reference) and same_weights(out, reference)


def test_a_second_run_in_the_folder_is_refused(
    videos: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, texts, step = tiny(videos, tmp_path / "run"), list[str](), Stepper.step

    def meanwhile(*given: Any, **named: Any) -> Any:
        if not texts:
            texts.append(complaint(config))
        return step(*given, **named)

    monkeypatch.setattr(Stepper, "step", meanwhile)
    train(config)
    assert texts[0].startswith(f"{tmp_path / 'run'}: another run is at work here (process {os.getpid()} on ")
    assert same_weights(tmp_path / "run", reference)


def test_relabelled_data_are_refused(videos: Path, reference: Path, tmp_path: Path) -> None:
    """Two class folders that changed their names: every path and class is still there."""
    root = shutil.copytree(videos, tmp_path / "videos")
    out = shutil.copytree(reference, tmp_path / "run")
    first, second, _ = CLASSES
    for old, new in ((first, "x"), (second, first), ("x", second)):
        (root / old).rename(root / new)
    text = complaint(tiny(root, out))
    assert ": belongs to a run of other annotations (" in text and text.endswith("or --fresh to replace it")


# What may be wrong with the disk


def test_a_full_disk_leaves_the_checkpoint_before(videos: Path, reference: Path, tmp_path: Path) -> None:
    """The system refuses files above a size: the next checkpoint fails, in the middle of it."""
    train(tiny(videos, tmp_path / "run", run={"max_steps": 3}))
    before = [(path, path.read_bytes()) for path in checkpoints(tmp_path / "run" / "checkpoints")]
    context = multiprocessing.get_context("forkserver")
    config, log = tiny(videos, tmp_path / "run"), tmp_path / "log"
    process = context.Process(target=train_limited, args=(config, len(before[-1][1]) // 2, log))
    process.start()
    process.join(TIMEOUT)
    assert process.exitcode == 1
    *_, line = log.read_text().splitlines()
    assert line.startswith(f"videomamba: {tmp_path / 'run' / 'checkpoints' / 'step_00000004.pt'}: cannot be written (")
    assert "Traceback" not in log.read_text()
    assert [(path, path.read_bytes()) for path in checkpoints(tmp_path / "run" / "checkpoints")] == before
    train(config)
    assert losses(tmp_path / "run") == losses(reference) and same_weights(tmp_path / "run", reference)


def test_a_disk_that_is_full_somewhere_else(
    videos: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics, configuration, a bundle: whichever file it is, its name stands in the line and the run can go on."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    config = tiny(videos, tmp_path / "run")
    for number in (2, 3, 8):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", at_call(number, os.fsync, full))
            text = complaint(config)
        assert text.startswith(str(tmp_path / "run")) and "No space left on device" in text
        assert not list(tmp_path.rglob(".*"))
    train(config)
    assert losses(tmp_path / "run") == losses(reference) and same_weights(tmp_path / "run", reference)


def test_a_folder_that_cannot_be_made(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = complaint(tiny(videos, tmp_path / "file" / "run"))
    assert text.startswith(str(tmp_path / "file" / "run"))
