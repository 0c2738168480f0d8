"""`videomamba train`: any supervised run, from a preset, a file, options, or all three."""

from __future__ import annotations

import sys

from videomamba.cli.output import counter, print_json, print_table


def train(arguments: list[str]) -> int:
    """Trains, then evaluates by the protocol of the settings. Goes on where an interrupted run of the same folder stopped."""
    from videomamba.recipes.load import check_config, load_config, to_yaml
    from videomamba.recipes.presets import preset

    if arguments[:1] == ["--presets"]:
        return _presets(as_json="--json" in arguments)
    config = load_config(arguments)
    if "--print-config" in arguments:
        print(to_yaml(config), end="")
        return 0
    check_config(config)
    if config.preset is not None:
        published = preset(config.preset).published
        for note in published.notes:
            print(f"{config.preset}: {note}", file=sys.stderr)

    from videomamba.recipes.classify import train as run
    from videomamba.recipes.evaluate import evaluate
    from videomamba.recipes.synthetic import write_actions

    if config.preset == "synthetic-actions" and config.data.root is not None:
        with counter("rendering") as tick:
            write_actions(config.data.root, progress=tick)
    trained = run(config)
    path = trained.best if config.eval.weights == "best" else trained.last
    with counter("evaluating") as tick:
        result = evaluate(
            path,
            config.data,
            views=config.eval.views,
            device=config.run.device,
            precision=config.run.precision,
            progress=tick,
        )
    print(f"{path}: {result}")
    if config.preset is not None and published.top1 is not None:
        print(f"published for {config.preset}: top-1 {published.top1} % ({published.protocol})")
    return 0


def _presets(*, as_json: bool) -> int:
    from videomamba.recipes.presets import presets_table

    rows = presets_table()
    if as_json:
        for row in rows:
            print_json(row)
    else:
        columns = [column for column in rows[0] if column != "model"]  # whose size stands in the name
        print_table(columns, [["-" if row[c] is None else str(row[c]) for c in columns] for row in rows], left=(0, 4))
        print("`videomamba train --preset NAME --print-config` shows all settings of one.")
    return 0
