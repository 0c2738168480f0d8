"""Checkpoints: whole or absent, pruned, read without running code, and back into an optimiser bit for bit."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from videomamba.files import clear_remains
from videomamba.schema import VideoMambaError
from videomamba.training.checkpoint import (
    CheckpointClock,
    Progress,
    RunState,
    check_same,
    checkpoints,
    load_checkpoint,
    optimizer_state,
    restore_optimizer,
    save_checkpoint,
    versions,
)
from videomamba.training.settings import Run

FACTS = {"names": ("a", "b"), "number": 12}


def state(step: int = 3) -> RunState:
    progress = Progress(seed=7, epoch=1, step_in_epoch=1, step=step, best=0.5, skipped_steps=1)
    progress.failed_videos["a.mp4"] = "is broken"
    moments = {"weight": {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 2)}}
    return RunState(progress, {"weight": torch.randn(2, 2)}, moments, None, "optim: {}\n", FACTS, versions())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    saved = state()
    path = save_checkpoint(tmp_path / "deep" / "folder", saved, keep=2)
    assert path == tmp_path / "deep" / "folder" / "step_00000003.pt"
    found = load_checkpoint(path)
    assert found.progress == saved.progress
    assert (found.config, found.data, found.ema) == ("optim: {}\n", FACTS, None)
    assert found.versions["torch"] == str(torch.__version__) and set(found.versions) == {
        "videomamba",
        "torch",
        "python",
    }
    assert torch.equal(found.model["weight"], saved.model["weight"])
    for name, tensor in saved.optimizer["weight"].items():
        assert torch.equal(found.optimizer["weight"][name], tensor)


@pytest.mark.parametrize(
    ("config", "data", "line"),
    [
        ("a: 2", {"n": 3}, "belongs to a run with other settings; choose another folder or use the same"),
        ("a: 1", {"n": 4}, "belongs to a run with n 3, not 4; choose another folder, or the same data"),
        ("a: 1", {}, "belongs to a run with n 3, not None; "),
    ],
)
def test_another_run_is_refused(config: str, data: dict[str, object], line: str) -> None:
    saved = RunState(Progress(seed=0), {}, {}, None, "a: 1", {"n": 3}, versions())
    check_same(saved, "a: 1", {"n": 3}, Path("file"))
    with pytest.raises(VideoMambaError) as caught:
        check_same(saved, config, data, Path("file"))
    assert str(caught.value).startswith(f"file: {line}") and "\n" not in str(caught.value)


def test_a_checkpoint_is_due_by_minutes_or_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = CheckpointClock(Run(), 0)
    now[0] = 59.0
    assert not clock.due(1000)
    now[0] = 60.0
    assert clock.due(1000), "a kill costs a minute"
    clock.saved(1000, seconds=9.0)
    now[0] = 239.0
    assert not clock.due(2000), "writing for 9 seconds every minute would take too large a share"
    now[0] = 240.0
    assert clock.due(2000)
    steps = CheckpointClock(Run(checkpoint_steps=50), 100)
    assert not steps.due(149) and steps.due(150)
    assert CheckpointClock(Run(checkpoint_minutes=0), 0).due(1)


def test_a_step_counts_what_it_skipped() -> None:
    progress = Progress(seed=0)
    progress.count_step([("a.mp4", "is broken")], finite=True)
    progress.count_step([("a.mp4", "is broken"), ("b.mp4", "is gone")], finite=False)
    assert (progress.step, progress.step_in_epoch, progress.skipped_steps) == (2, 2, 1)
    assert progress.failed_videos == {"a.mp4": "is broken", "b.mp4": "is gone"}


def test_old_ones_are_removed_when_the_new_one_stands(tmp_path: Path) -> None:
    for step in (9, 10, 11, 100):
        save_checkpoint(tmp_path, state(step), keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_00000011.pt", "step_00000100.pt"]


def test_other_files_are_no_checkpoints_and_stay(tmp_path: Path) -> None:
    for name in ("step_1.pt", "step_00000001.pt.bak", "notes.txt"):
        (tmp_path / name).write_text("mine")
    remains = tmp_path / ".step_00000001.pt.abc"
    remains.mkdir()
    (remains / "step_00000001.pt").write_text("half")
    save_checkpoint(tmp_path, state(), keep=1)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_00000003.pt"]
    clear_remains(tmp_path, "step_*.pt")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["notes.txt", "step_00000001.pt.bak", "step_00000003.pt", "step_1.pt"]


def test_no_folder_has_no_checkpoints(tmp_path: Path) -> None:
    assert checkpoints(tmp_path / "gone") == []
    clear_remains(tmp_path / "gone", "step_*.pt")


class Runs:
    """Something whose unpickling would run a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, state(), keep=1)
    whole = path.read_bytes()
    marker = tmp_path / "it ran"
    damages = [b"", b"no checkpoint", whole[:100], whole[: len(whole) // 2], whole[:-1]]
    for damage in damages:
        path.write_bytes(damage)
        refused(path)
    for content in ({"model": {}}, {**vars(state()), "progress": {"steps": 3}}, [1, 2], {"run": Runs(marker)}):
        torch.save(content, path)
        refused(path)
    assert not marker.exists()


def refused(path: Path) -> None:
    with pytest.raises(VideoMambaError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: is damaged") and "remove it" in text and "\n" not in text


def test_a_disk_that_refuses_leaves_those_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = save_checkpoint(tmp_path, state(1), keep=1)

    def full(content: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data.pkl: file write failed\nmore lines")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(VideoMambaError) as caught:
        save_checkpoint(tmp_path, state(2), keep=1)
    assert str(caught.value).startswith(f"{tmp_path / 'step_00000002.pt'}: cannot be written (PytorchStreamWriter")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == [before]


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoMambaError) as caught:
        save_checkpoint(tmp_path / "file" / "folder", state(), keep=1)
    assert str(caught.value).startswith(f"{tmp_path / 'file' / 'folder'}: cannot be created (")


@pytest.mark.parametrize("fused", [True, False])
def test_an_optimiser_goes_on_bit_for_bit(fused: bool, tmp_path: Path) -> None:
    inputs = torch.randn(5, 3)

    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
        for _ in range(number):
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()

    def optimizer_of(model: nn.Module) -> torch.optim.AdamW:
        return torch.optim.AdamW(model.parameters(), lr=0.01, fused=fused, foreach=not fused)

    whole = network()
    steps(whole, optimizer_of(whole), 6)

    first = network()
    optimizer = optimizer_of(first)
    steps(first, optimizer, 4)
    moments = optimizer_state(optimizer, first.named_parameters())
    assert list(moments) == [name for name, _ in first.named_parameters()]
    kept = RunState(Progress(seed=0, step=4), first.state_dict(), moments, None, "", {}, versions())
    found = load_checkpoint(save_checkpoint(tmp_path, kept, keep=1))
    steps(first, optimizer, 1)  # what was kept is a copy

    second = network()
    second.load_state_dict(dict(found.model))
    optimizer = optimizer_of(second)
    restore_optimizer(optimizer, second.named_parameters(), found.optimizer)
    steps(second, optimizer, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_a_parameter_that_was_never_stepped_has_no_moments() -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    assert optimizer_state(optimizer, model.named_parameters()) == {}
    restore_optimizer(optimizer, model.named_parameters(), {})
