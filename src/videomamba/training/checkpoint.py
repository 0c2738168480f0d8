"""What a run keeps to go on from: everything that the next step depends on, in one file that appears whole or not at all.

A run draws nothing from a generator with a history: every draw is made from (seed, step) or (seed, epoch, place in the
epoch's order). So the state of all generators and of the sampler is three numbers, and a run that goes on from a checkpoint
makes the same steps as one that was never stopped.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videomamba.files import write_atomically
from videomamba.schema import VideoMambaError
from videomamba.training.distributed import like, whole

_NAME = re.compile(r"step_(\d{8})\.pt")


@dataclass
class Progress:
    """Where a run stands: `epoch` and `step_in_epoch` are the next ones to be done, `step` counts all done ones."""

    seed: int
    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best: float | None = None
    skipped_steps: int = 0
    failed_videos: dict[str, str] = field(default_factory=dict)

    def count_step(self, failures: Sequence[tuple[str, str]], *, finite: bool) -> None:
        """A step is done; `failures` are the (path, reason) of videos that it did without."""
        self.step, self.step_in_epoch = self.step + 1, self.step_in_epoch + 1
        self.skipped_steps += not finite
        self.failed_videos.update(failures)


@dataclass(frozen=True)
class RunState:
    """What a checkpoint file holds. Tensors are whole, fp32, on the CPU; `optimizer` is by parameter name.

    `labels` and `num_videos` are those of the training data, in whose order a run goes on.
    """

    progress: Progress
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Mapping[str, Tensor]]
    ema: Mapping[str, Tensor] | None
    config: str
    labels: tuple[str, ...]
    num_videos: int
    versions: Mapping[str, str]


def versions() -> dict[str, str]:
    """The code that a run was made with."""
    return {
        "videomamba": importlib.metadata.version("videomamba"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def save_checkpoint(folder: Path, state: RunState, *, keep: int) -> Path:
    """Writes `state` as folder/step_<step>.pt, then removes all but the last `keep` files.

    Raises VideoMambaError when the disk refuses: nothing was removed, the checkpoints before are as they were.
    """
    path = folder / f"step_{state.progress.step:08}.pt"
    content = {**vars(state), "progress": asdict(state.progress)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VideoMambaError(f"{folder}: cannot be made a folder ({error.strerror}); choose another folder") from error
    write_atomically(path, lambda target: torch.save(content, target))
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoint files of a run, oldest first."""
    return sorted(path for path in folder.glob("step_*.pt") if _NAME.fullmatch(path.name))


def load_checkpoint(path: Path) -> RunState:
    """Reads what `save_checkpoint` wrote, without running code from the file. Raises VideoMambaError when it is damaged."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return RunState(**{**content, "progress": Progress(**content["progress"])})
    except Exception as error:  # a damaged file makes torch.load raise anything
        raise VideoMambaError(
            f"{path}: is damaged or of another version and cannot be resumed from; remove it, the one before it then serves"
        ) from error


def optimizer_state(
    optimizer: torch.optim.Optimizer, parameters: Iterable[tuple[str, nn.Parameter]]
) -> dict[str, dict[str, Tensor]]:
    """The moments of every parameter by its name, whole and on the CPU. Every process must call."""
    return {
        name: {key: whole(value).detach().cpu().clone() for key, value in optimizer.state[parameter].items()}
        for name, parameter in parameters
        if parameter in optimizer.state
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[tuple[str, nn.Parameter]],
    state: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """The inverse of `optimizer_state`, for any number of processes."""
    fused = bool(optimizer.defaults.get("fused"))  # whose step counts lie beside the parameters
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
