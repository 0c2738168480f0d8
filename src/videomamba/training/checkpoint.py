"""The training state from which a run resumes, in one file that is written completely or not at all.

No generator of a run has a history (`draws.py`). So three numbers are the state of all generators and of the sampler, and a
resumed run makes the same steps as an uninterrupted one.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videomamba.files import make_folder, write_atomically
from videomamba.schema import VideoMambaError
from videomamba.training.distributed import like, unsharded
from videomamba.training.settings import Run

WRITING_SHARE = 0.05
"""The largest share of the time that checkpoints by the minute may take."""


@dataclass
class Progress:
    """The progress of a run: `epoch` and `step_in_epoch` are the next ones, `step` counts the finished ones."""

    seed: int
    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best: float | None = None
    skipped_steps: int = 0
    failed_videos: dict[str, str] = field(default_factory=dict)

    def count_step(self, failures: Sequence[tuple[str, str]], *, finite: bool) -> None:
        """Counts a finished step; `failures` has (path, reason) of each video that it skipped."""
        self.step, self.step_in_epoch = self.step + 1, self.step_in_epoch + 1
        self.skipped_steps += not finite
        self.failed_videos.update(failures)


@dataclass(frozen=True)
class RunState:
    """The content of a checkpoint file. Tensors are unsharded, fp32, on the CPU; `optimizer` is by parameter name.

    `config` is the text of the run's settings. `data` identifies its training data by strings, numbers, and tuples of them;
    `kept` has texts that the run determined at its start and needs at its end.
    """

    progress: Progress
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Mapping[str, Tensor]]
    ema: Mapping[str, Tensor] | None
    config: str
    data: Mapping[str, object]
    versions: Mapping[str, str]
    kept: Mapping[str, str] = field(default_factory=dict)


class CheckpointClock:
    """When a checkpoint is due: after `checkpoint_minutes`, or after `checkpoint_steps`; `step` was the last one saved.

    The minutes become longer where writing would take more than WRITING_SHARE of the time.
    """

    def __init__(self, settings: Run, step: int) -> None:
        self._minutes, self._steps = settings.checkpoint_minutes, settings.checkpoint_steps
        self.saved(step, seconds=0.0)

    def due(self, step: int) -> bool:
        """After `step`, by the clock of this process."""
        enough = self._steps is not None and step - self._step >= self._steps
        return enough or time.monotonic() - self._time >= self._pause

    def saved(self, step: int, *, seconds: float) -> None:
        """Starts again: the checkpoint of `step` is written, and that took `seconds`."""
        self._step, self._time = step, time.monotonic()
        # Without a pause every step is saved, as tests and trials want it.
        self._pause = max(60 * self._minutes, seconds / WRITING_SHARE) if self._minutes else 0.0


def versions() -> dict[str, str]:
    """The versions of the code that makes a run."""
    return {
        "videomamba": importlib.metadata.version("videomamba"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def save_checkpoint(folder: Path, state: RunState, *, keep: int) -> Path:
    """Writes `state` as folder/step_<step>.pt, then removes all but the last `keep` files.

    Raises VideoMambaError when the file cannot be written; earlier checkpoints are then unchanged.
    """
    path = folder / f"step_{state.progress.step:08}.pt"
    content = {**vars(state), "progress": asdict(state.progress)}
    make_folder(folder)
    write_atomically(path, lambda target: torch.save(content, target))
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoint files of a run, oldest first."""
    return sorted(folder.glob(f"step_{'[0-9]' * 8}.pt"))


def load_checkpoint(path: Path) -> RunState:
    """Reads what `save_checkpoint` wrote, without running code from the file. Raises VideoMambaError when it is damaged."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return RunState(**{**content, "progress": Progress(**content["progress"])})
    except Exception as error:  # torch.load raises anything on a damaged file
        raise VideoMambaError(
            f"{path}: is damaged or of another version; remove it to resume from an earlier one, or begin anew with --fresh"
        ) from error


def check_same(state: RunState, config: str, data: Mapping[str, object], path: Path) -> None:
    """Raises VideoMambaError when the checkpoint `state` at `path` has another config or other data."""
    for what in (*data, *(name for name in state.data if name not in data)):
        if data.get(what) != state.data.get(what):
            raise VideoMambaError(
                f"{path}: belongs to a run with {what} {state.data.get(what)}, not {data.get(what)}; choose another folder, "
                "or the same data to resume it"
            )
    if config != state.config:
        raise VideoMambaError(f"{path}: belongs to a run with other settings; choose another folder or use the same")


def optimizer_state(
    optimizer: torch.optim.Optimizer, parameters: Iterable[tuple[str, nn.Parameter]]
) -> dict[str, dict[str, Tensor]]:
    """The moments of every parameter by its name, unsharded, on the CPU. Every process must call."""
    return {
        name: {key: unsharded(value).detach().cpu().clone() for key, value in optimizer.state[parameter].items()}
        for name, parameter in parameters
        if parameter in optimizer.state
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[tuple[str, nn.Parameter]],
    state: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """The inverse of `optimizer_state`, for any number of processes."""
    fused = bool(optimizer.defaults.get("fused"))  # its step counts are on the device of the parameters
    for name, parameter in parameters:
        if name in state:
            optimizer.state[parameter] = {
                key: (
                    value.to(parameter.device if fused else "cpu", copy=True)
                    if value.ndim == 0
                    else like(value, parameter)
                )
                for key, value in state[name].items()
            }
