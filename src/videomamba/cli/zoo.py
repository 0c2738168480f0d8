"""`videomamba zoo` and `videomamba convert`: checkpoints, known and at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.output import Json, print_json, print_table


def zoo(
    name: Annotated[
        Positional[str | None], arg(metavar="NAME", help="one checkpoint, with all that is known of it")
    ] = None,
    /,
    *,
    json: Json = False,
) -> int:
    """List the released checkpoints: frames, resolution, protocol, reported accuracy, known faults."""
    from videomamba.schema import Preprocess, WeightsError
    from videomamba.weights.released import ZooEntry
    from videomamba.weights.zoo import preprocess_of, zoo_entry, zoo_names

    def known_preprocess(entry: ZooEntry) -> Preprocess | None:
        """None where only the packaged file could tell and it is absent or damaged: the others are listed all the same."""
        try:
            return preprocess_of(entry)
        except WeightsError:
            return None

    entries = [zoo_entry(n) for n in ([name] if name else zoo_names())]
    facts = [
        {
            "name": e.name,
            "architecture": e.architecture,
            "kind": e.kind,
            "dataset": e.dataset,
            "file": e.file,
            "frames": preprocess and preprocess.num_frames,
            "resolution": preprocess and "x".join(map(str, preprocess.image_size)),
            "clips_x_crops": f"{e.clips}x{e.crops}",
            "reported_top1": e.top1,
            "zero_shot_recall_at_1": dict(e.zero_shot),
            "starts_from": e.init,
            "faults": list(e.faults),
            "notes": list(e.notes),
        }
        for e, preprocess in zip(entries, map(known_preprocess, entries), strict=True)
    ]
    if json:
        for fact in facts:
            print_json(fact)
    elif name:
        for key, value in facts[0].items():
            for item in value if isinstance(value, list) else [value]:
                print(f"{key.replace('_', ' '):>22}  {item if item not in (None, {}) else '-'}")
    else:
        columns = ("name", "frames", "resolution", "clips_x_crops", "reported_top1")
        rows = [[*(str(f[c] if f[c] is not None else "-") for c in columns), "!" if f["faults"] else ""] for f in facts]
        print_table([*(c.replace("_", " ") for c in columns), "faults"], rows)
        print("`videomamba zoo NAME` tells the faults and everything else.")
    return 0


def convert(
    weights: Annotated[Positional[str], arg(metavar="WEIGHTS", help="zoo name or checkpoint file")],
    out: Annotated[Positional[Path], arg(metavar="OUT", help="file to write")],
    /,
    *,
    to: Annotated[
        Literal["bundle", "video", "image"], arg(help="our safetensors bundle, or the original's .pth formats")
    ] = "bundle",
    frames: Annotated[int | None, arg(metavar="T", help="resize the temporal positions to this many frames")] = None,
    size: Annotated[
        int | None, arg(metavar="PIXELS", help="resize the spatial positions to this side in pixels")
    ] = None,
) -> int:
    """Turn a released image or video checkpoint into a bundle with its class names, or write the original's format."""
    from videomamba.serving.predictor import Predictor
    from videomamba.weights.bundle import save_bundle
    from videomamba.weights.read import save_original

    predictor = Predictor.from_pretrained(weights, num_frames=frames, image_size=size)
    if to == "bundle":
        save_bundle(out, predictor.model, predictor.preprocess, predictor.labels, {"converted_from": str(weights)})
    else:
        save_original(predictor.model, out, to)
    print(out)
    return 0
