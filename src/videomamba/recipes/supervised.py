"""A supervised run from its settings to its accuracy on the test split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from videomamba.data.sets.annotations import same_videos
from videomamba.recipes.classify import train
from videomamba.recipes.config import DistillConfig, TrainConfig, check_config
from videomamba.recipes.distill import distill
from videomamba.recipes.evaluate import evaluate
from videomamba.recipes.presets import preset
from videomamba.recipes.testing import Result
from videomamba.recipes.videos import name_failures
from videomamba.synthetic.splits import write_splits
from videomamba.training.checkpoint import Progress
from videomamba.training.run import Trained

Counter = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""`with counter("evaluating") as tick` shows the progress of a stage of that name; call tick(done, total)."""

Config = TypeVar("Config", bound=TrainConfig, contravariant=True)


class Training(Protocol[Config]):
    """A supervised recipe: makes the run of a config, or the rest of it."""

    def __call__(self, config: Config, /, *, fresh: bool, notify: Callable[[str], object]) -> Trained: ...


@dataclass(frozen=True)
class Measured:
    """A finished run: the `weights` file that its settings choose, their `result` on the test split, the `progress`."""

    weights: Path
    result: Result
    progress: Progress


def silent(_: str) -> None:
    """The default of `notify`: no output."""


def train_and_evaluate(
    config: Config,
    training: Training[Config] | None = None,
    *,
    fresh: bool = False,
    notify: Callable[[str], None] = silent,
    counter: Counter | None = None,
) -> Measured:
    """Trains by a supervised recipe, then evaluates by the protocol of the settings; an interrupted run is resumed.

    `training` is the recipe, by default that of the settings: `distill` for a DistillConfig, else `train`. `fresh` replaces
    the run in config.run.out. `notify` gets remarks on the run, a line each, also on videos that training skipped or the
    evaluation missed; `counter` shows the progress of everything except training. The data of the preset "synthetic-actions"
    are written first. Raises VideoMambaError as the recipe does.
    """
    check_config(config)
    counter = counter or _uncounted
    if config.preset is not None:
        for text in preset(config.preset).published.notes:
            notify(f"{config.preset}: {text}")
    if config.preset == "synthetic-actions" and config.data.root is not None:
        with counter("rendering") as tick:
            write_splits(config.data.root, progress=tick)
    trained = (training or _recipe)(config, fresh=fresh, notify=notify)
    name_failures(trained.progress.failed_videos.items(), "skipped", notify)
    weights = trained.best if config.eval.weights == "best" else trained.last
    with counter("evaluating") as tick:
        result = evaluate(
            weights,
            config.data.model_copy(update={"cache": None}),  # the videos themselves, not their cached frames
            split="test",
            views=config.eval.views,
            device=config.run.device,
            precision=config.run.precision,
            progress=tick,
        )
    name_failures(result.failures, "missed", notify)
    if config.eval.weights == "best" and same_videos(config.data, "val", "test"):
        notify("the same videos chose the best weights, so the accuracy is too high; a separate test split avoids this")
    return Measured(weights, result, trained.progress)


def _recipe(config: TrainConfig, *, fresh: bool, notify: Callable[[str], object]) -> Trained:
    if isinstance(config, DistillConfig):
        return distill(config, fresh=fresh, notify=notify)
    return train(config, fresh=fresh, notify=notify)


@contextmanager
def _uncounted(_: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None
