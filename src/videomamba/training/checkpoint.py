"""The training state from which a run resumes: all that the next step depends on, in one file written whole or not at all.

No generator of a run has a history (`draws.py`). So the state of all generators and of the sampler is three numbers, and a
resumed run makes the same steps as an uninterrupted one.
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

from videomamba.files import make_folder, write_atomically
from videomamba.schema import VideoMambaError
from videomamba.training.distributed import like, whole

_NAME = re.compile(r"step_(\d{8})\.pt")


@dataclass
class Progress:
    """How far a run is: `epoch` and `step_in_epoch` are the next ones, `step` counts the finished ones."""

    seed: int
    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best: float | None = None
    skipped_steps: int = 0
    failed_videos: dict[str, str] = field(default_factory=dict)

    def count_step(self, failures: Sequence[tuple[str, str]], *, finite: bool) -> None:
        """Counts a finished step; `failures` are the (path, reason) of the videos that it skipped."""
        self.step, self.step_in_epoch = self.step + 1, self.step_in_epoch + 1
        self.skipped_steps += not finite
        self.failed_videos.update(failures)


@dataclass(frozen=True)
class RunState:
    """The content of a checkpoint file. Tensors are whole, fp32, on the CPU; `optimizer` is by parameter name.

    `config` is a text with the settings of the run, and `data` holds facts that identify its training data: strings,
    numbers, and tuples of them. Only the recipe knows what they mean.
    """

    progress: Progress
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Mapping[str, Tensor]]
    ema: Mapping[str, Tensor] | None
    config: str
    data: Mapping[str, object]
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

    Raises VideoMambaError when the file cannot be written: the earlier checkpoints are then unchanged.
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
    return sorted(path for path in folder.glob("step_*.pt") if _NAME.fullmatch(path.name))


def load_checkpoint(path: Path) -> RunState:
    """Reads what `save_checkpoint` wrote, without running code from the file. Raises VideoMambaError when it is damaged."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return RunState(**{**content, "progress": Progress(**content["progress"])})
    except Exception as error:  # a damaged file makes torch.load raise anything
        raise VideoMambaError(
            f"{path}: is damaged or of another version; remove it to resume from the checkpoint before it"
        ) from error


def check_same(state: RunState, config: str, data: Mapping[str, object], path: Path) -> None:
    """Raises VideoMambaError when the checkpoint `state` at `path` is not that of `config` and `data`, to the letter."""
    for what in (*data, *(name for name in state.data if name not in data)):
        if data.get(what) != state.data.get(what):
            raise VideoMambaError(
                f"{path}: belongs to a run with {what} {state.data.get(what)}, not {data.get(what)}; choose another folder, "
                "or the same data to resume it"
            )
    if config != state.config:
        raise VideoMambaError(
            f"{path}: belongs to a run with other settings; choose another folder, or the same settings to resume it"
        )


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
