"""The run carries any recipe: here an autoencoder of synthetic clips, with a network, a batch and a loss of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from videomamba.recipes.load import to_yaml
from videomamba.schema import Settings, VideoMambaError
from videomamba.synthetic.dataset import render_clip
from videomamba.training.checkpoint import checkpoints
from videomamba.training.draws import Draws
from videomamba.training.run import Trained, TrainingRun
from videomamba.training.settings import Optimisation, Run
from videomamba.training.step import Stepper
from videomamba.training.tracking import read_metrics

# The recipe


class AutoencoderConfig(Settings):
    run: Run = Run()
    optim: Optimisation = Optimisation()
    width: int = 8
    clips: int = 12


@dataclass(frozen=True)
class Clips:
    """`video` (n, 3, t, h, w) in 0..1."""

    video: Tensor
    names: tuple[str, ...]
    planned: int
    failures: tuple[tuple[str, str], ...] = ()


class RenderedLoader:
    waited = 0.0

    def __init__(self, config: AutoencoderConfig, draws: Draws) -> None:
        self.steps_per_epoch, self._draws, self._config = config.clips // config.optim.batch_size, draws, config

    def epoch(self, epoch: int, first_step: int) -> Iterator[list[Clips]]:
        order, size = self._draws.order(epoch).permutation(self._config.clips), self._config.optim.batch_size
        for step in range(first_step, self.steps_per_epoch):
            seeds = order[step * size : (step + 1) * size].tolist()
            frames = [torch.from_numpy(render_clip(s, s, num_frames=8, height=64, width=64)) for s in seeds]
            video = torch.stack(frames).movedim(-1, 1)[:, :, ::4, ::8, ::8] / 255
            yield [Clips(part, tuple(f"clip {s}" for s in seeds[:2]), len(part)) for part in video.split(size // 2)]


def autoencode(config: AutoencoderConfig) -> Trained:
    with TrainingRun(config.run, config.optim, config=to_yaml(config), data={"clips": config.clips}) as run:
        torch.manual_seed(run.draws.weights())
        pixels = 3 * 2 * 8 * 8
        model = nn.Sequential(nn.Linear(pixels, config.width), nn.Dropout(0.1), nn.Linear(config.width, pixels))
        module, loader = run.prepare(model, depth=1), RenderedLoader(config, run.draws)

        def losses_of(batch: Clips) -> tuple[Tensor, Sequence[str]]:
            with run.autocast():
                video = batch.video.flatten(1)
                noise = run.draws.mixing(run.progress.step).normal(size=video.shape)
                return (module(video + 0.1 * torch.from_numpy(noise).float()) - video).square().mean(dim=1), batch.names

        with run.steps(loader) as steps:
            for batches in steps:
                result = run.step(batches, losses_of)
                if run.evaluation_due:
                    run.keep_weights(lambda path: save_file(run.weights(), path), quality=-result.loss)
        return run.trained


# What it promises


def config(out: Path, **more: Any) -> AutoencoderConfig:
    run = Run(out=out, device="cpu", checkpoint_minutes=0, **more)
    return AutoencoderConfig(run=run, optim=Optimisation(epochs=3, batch_size=4, lr=1e-2, warmup_epochs=0, ema=0.9))


def autoencode_until_killed(config: AutoencoderConfig, number: int) -> None:
    """Ends this process in the middle of step `number`, counted from 1."""
    steps, step = count(1), Stepper.step

    def killed(*given: Any, **named: Any) -> Any:
        result = step(*given, **named)
        if next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Stepper.step = killed  # type: ignore[method-assign]
    autoencode(config)


def test_it_resumes_bit_for_bit_after_a_kill(tmp_path: Path) -> None:
    trained = autoencode(config(tmp_path / "whole"))
    process = multiprocessing.get_context("forkserver").Process(
        target=autoencode_until_killed, args=(config(tmp_path / "run"), 5)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")][-1] == "step_00000004.pt"
    resumed = autoencode(config(tmp_path / "run"))
    assert resumed.progress == trained.progress and trained.progress.step == 9
    for one, other in ((trained.last, resumed.last), (trained.best, resumed.best)):
        weights, again = load_file(one), load_file(other)
        assert weights.keys() == again.keys() and all(torch.equal(weights[name], again[name]) for name in weights)
    losses = [[r["loss"] for r in read_metrics(tmp_path / out) if r["kind"] == "step"] for out in ("whole", "run")]
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]


def test_another_run_is_refused(tmp_path: Path) -> None:
    """The first one has products in bf16, by autocast, as its network has no master weights."""
    autoencode(config(tmp_path, max_steps=1, precision="bf16"))
    with pytest.raises(VideoMambaError, match=r"step_00000001\.pt: belongs to a run with clips 12, not 16; choose"):
        autoencode(config(tmp_path, max_steps=1).model_copy(update={"clips": 16}))
