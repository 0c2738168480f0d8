"""`videomamba zoo`: the released weights and their known facts."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, print_json, print_table


def zoo(
    name: Annotated[Positional[str | None], arg(metavar="NAME", help="show all that is known about this one")] = None,
    /,
    *,
    json: Json = False,
) -> int:
    """List the released weights: frames, resolution, protocol, reported accuracy, known faults."""
    from videomamba.schema import Preprocess, WeightsError
    from videomamba.weights.released import ZooEntry
    from videomamba.weights.zoo import architecture_of, preprocess_of, zoo_entry, zoo_names

    def known_preprocess(entry: ZooEntry) -> Preprocess | None:
        """None if the packaged file is missing or damaged: the other entries are still listed."""
        try:
            return preprocess_of(entry)
        except WeightsError:
            return None

    entries = [zoo_entry(n) for n in ([name] if name else zoo_names())]
    facts = [
        {
            "name": e.name,
            "architecture": e.architecture,
            "config": dict(e.config),
            "kind": e.kind,
            "dataset": e.dataset,
            "file": e.file,
            "frames": preprocess and preprocess.num_frames,
            "resolution": preprocess and "x".join(map(str, preprocess.image_size)),
            "clips_x_crops": f"{e.clips}x{e.crops}",
            "reported_top1": e.top1,
            "zero_shot_recall_at_1": dict(e.zero_shot),
            "starts_from": e.init,
            "knows": e.knows,
            "faults": list(e.faults),
            "notes": list(e.notes),
        }
        for e, preprocess in zip(entries, map(known_preprocess, entries), strict=True)
    ]
    if json:
        for fact in facts:
            print_json(fact)
    elif name:
        shown = {**facts[0], "architecture": architecture_of(entries[0])}
        del shown["config"]
        rows = [[key.replace("_", " "), line] for key, value in shown.items() for line in _lines(value)]
        width = max(len(key) for key, _ in rows)
        for i, (key, line) in enumerate(rows):  # no table: notes are longer than a line of it
            print(f"{'' if i and rows[i - 1][0] == key else key:>{width}}  {line}")
    else:
        columns = ("name", "frames", "resolution", "clips_x_crops", "reported_top1")
        rows = [[*(str(f[c] if f[c] is not None else "-") for c in columns), "!" if f["faults"] else ""] for f in facts]
        print_table([*(c.replace("_", " ") for c in columns), "faults"], rows)
        for entry in entries:
            if entry.knows:
                print(f"{entry.name} knows {entry.knows}.")
        print("`videomamba zoo NAME` shows the faults and everything else.")
    return 0


def _lines(value: object) -> list[str]:
    """A fact as the lines that a person reads."""
    if isinstance(value, dict):  # of each data set, text to video and back
        shown = [f"{name}: text to video {there} %, video to text {back} %" for name, (there, back) in value.items()]
    elif isinstance(value, list):
        shown = [str(item) for item in value]
    else:
        shown = [] if value is None else [str(value)]
    return shown or ["-"]
