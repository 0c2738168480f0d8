"""`videomamba train`: any supervised run, from a preset, a file, options, or all three."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from videomamba.cli.output import counter, note, print_json, print_table

if TYPE_CHECKING:
    from videomamba.recipes.classify import Trained
    from videomamba.recipes.config import TrainConfig
    from videomamba.recipes.testing import Result


def train(arguments: list[str]) -> int:
    """Trains, then evaluates by the protocol of the settings. Goes on where an interrupted run of the same folder stopped."""
    from videomamba.recipes.load import check_config, load_config, to_yaml
    from videomamba.recipes.presets import preset

    if "--presets" in arguments:
        return _presets([argument for argument in arguments if argument != "--presets"])
    config = load_config(arguments)
    if "--print-config" in arguments:
        print(to_yaml(config), end="")
        return 0
    check_config(config)
    if config.preset is not None:
        published = preset(config.preset).published
        for text in published.notes:
            note(f"{config.preset}: {text}")

    from videomamba.data.sets.annotations import same_videos
    from videomamba.recipes.classify import train as run
    from videomamba.recipes.synthetic import write_actions

    if config.preset == "synthetic-actions" and config.data.root is not None:
        with counter("rendering") as tick:
            write_actions(config.data.root, progress=tick)
    trained = run(config)
    path, result = measure(config, trained)
    print(f"{path}: {result}")
    if config.eval.weights == "best" and same_videos(config.data, "val", "test"):
        note("these videos also chose the best weights, which flatters the number; a test split of its own would not")
    if config.preset is not None and published.top1 is not None:
        print(f"published for {config.preset}: top-1 {published.top1} % ({published.protocol})")
    return 0


def measure(config: TrainConfig, trained: Trained) -> tuple[Path, Result]:
    """The weights of a finished run that its settings choose, and how they do on its test split, by its protocol."""
    from videomamba.recipes.evaluate import evaluate

    path = trained.best if config.eval.weights == "best" else trained.last
    with counter("evaluating") as tick:
        result = evaluate(
            path,
            config.data.model_copy(update={"cache": None}),  # the videos themselves, not what was kept of them
            views=config.eval.views,
            device=config.run.device,
            precision=config.run.precision,
            progress=tick,
        )
    return path, result


def _presets(options: list[str]) -> int:
    from videomamba.recipes.presets import presets_table
    from videomamba.schema import VideoMambaError

    if options not in ([], ["--json"]):
        raise VideoMambaError(f"{' '.join(options)}: not with --presets, which takes --json only")
    rows = presets_table()
    if options:
        for row in rows:
            print_json(row)
    else:
        columns = [column for column in rows[0] if column != "model"]  # whose size stands in the name
        print_table(columns, [["-" if row[c] is None else str(row[c]) for c in columns] for row in rows], left=(0, 4))
        print("`videomamba train --preset NAME --print-config` shows all settings of one.")
    return 0
