"""Whether the maps of `videomamba explain` mean something: deletion and insertion, beside random maps and the middle.

    python benchmarks/explanations.py [--clips 100] [--model NAME_OR_FILE] [--videos FOLDER] [--seed 8001] [--json]

Renders clips of unseen seeds (or takes the first ones of FOLDER), and explains the best class of each with every method. The
patches are then removed from the clip, most relevant first, or added to an empty one; the score is the mean probability of the
class meanwhile (`evaluation/faithfulness.py`). A map that means something has a low deletion and a high insertion. Differences
are per clip; their intervals are for the mean over the clips, with 95 % confidence.

"attention, rollout" is the other way to join the layers of the hidden attention; `videomamba explain` does not have it, because
it looks at no class. The exit code is 1 where a method of `videomamba explain` does not beat random maps in both scores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from videomamba import Predictor
from videomamba.evaluation.faithfulness import (
    RANDOM_MAPS,
    Estimate,
    areas,
    centre_map,
    estimate,
    random_maps,
    without_content,
)
from videomamba.models.hidden_attention import class_relevance
from videomamba.serving.explain.methods import METHODS, relevance
from videomamba.synthetic.dataset import ACTIONS, write_dataset
from videomamba.video.find import search_videos
from videomamba.weights.released import ACTIONS_MODEL

ROLLOUT = "attention, rollout"


def clips_of(predictor: Predictor, args: argparse.Namespace) -> Iterator[Tensor]:
    """The clips (3, t, h, w) of the videos."""
    with tempfile.TemporaryDirectory() as folder:
        if args.videos is not None:
            paths = search_videos(args.videos).videos[: args.clips]
        else:
            each = -(-args.clips // len(ACTIONS))
            files = write_dataset(Path(folder), clips_per_class=each, seed=args.seed, height=112, width=112)
            paths = [file.path for file in files[: args.clips]]  # all classes in turns
        for path in paths:
            yield predictor.clips(path)[0].data.to(predictor.device)


def scores_of(predictor: Predictor, clip: Tensor, generator: torch.Generator) -> dict[str, tuple[float, float]]:
    """(deletion, insertion) of each kind of map for the best class of the clip."""
    model = predictor.model
    with torch.inference_mode():
        target = int(model(clip[None])[0].argmax())

    @torch.inference_mode()
    def probability(clips: Tensor) -> Tensor:
        return model(clips).float().softmax(dim=1)[:, target]

    grid = model.config.grid
    maps = {method: relevance(model, clip, target, method) for method in METHODS}
    maps[ROLLOUT] = class_relevance(model, clip[None], torch.tensor([target]), layers="rollout")[0].cpu()
    maps["centre"] = centre_map(grid)
    found = areas(
        probability, clip, without_content(clip), [*maps.values(), *random_maps(RANDOM_MAPS, grid, generator)]
    )
    rows = torch.stack(found, dim=1)
    scores = dict(zip(maps, rows[: len(maps)].tolist(), strict=True))
    return {**scores, "random": rows[len(maps) :].mean(dim=0).tolist()}


def gains(scores: dict[str, list[tuple[float, float]]], name: str, other: str) -> tuple[Estimate, Estimate]:
    """How much better than `other` the maps `name` are, in deletion and insertion; above 0 is better."""
    pairs = list(zip(scores[name], scores[other], strict=True))
    deletion = estimate([theirs[0] - ours[0] for ours, theirs in pairs])
    return deletion, estimate([ours[1] - theirs[1] for ours, theirs in pairs])


def record(scores: dict[str, list[tuple[float, float]]], name: str) -> dict[str, object]:
    found: dict[str, object] = {
        kind: estimate([pair[i] for pair in scores[name]])._asdict() for i, kind in enumerate(("deletion", "insertion"))
    }
    for other in ("random", "centre"):
        deletion, insertion = gains(scores, name, other)
        found[f"better_than_{other}"] = {"deletion": deletion._asdict(), "insertion": insertion._asdict()}
    return {"map": name, "clips": len(scores[name]), **found}


def show(scores: dict[str, list[tuple[float, float]]]) -> None:
    columns = ("map", "deletion", "insertion", "better than random by", "better than the middle by")
    print("{:<20} {:>9} {:>10}   {:<32} {:<32}".format(*columns))
    for name, pairs in scores.items():
        deletion, insertion = (sum(pair[i] for pair in pairs) / len(pairs) for i in (0, 1))
        cells = [
            ", ".join(f"{gain.mean:+.3f} ± {gain.margin:.3f}" for gain in gains(scores, name, other))
            for other in ("random", "centre")
        ]
        print(f"{name:<20} {deletion:>9.3f} {insertion:>10.3f}   {cells[0]:<32} {cells[1]:<32}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--model", default=ACTIONS_MODEL)
    parser.add_argument("--videos", help="a folder of videos, for a model of something else than the rendered actions")
    parser.add_argument("--seed", type=int, default=8001)
    parser.add_argument("--json", action="store_true", help="one JSON record a kind of map")
    args = parser.parse_args()
    if args.clips < 2:
        parser.error("--clips: an interval needs at least 2 clips")
    predictor = Predictor.from_pretrained(args.model)
    generator = torch.Generator().manual_seed(args.seed)
    scores: dict[str, list[tuple[float, float]]] = {}
    started = time.perf_counter()
    for number, clip in enumerate(clips_of(predictor, args), 1):
        for name, pair in scores_of(predictor, clip, generator).items():
            scores.setdefault(name, []).append(pair)
        if sys.stderr.isatty():
            print(f"\r{number} of {args.clips} clips", end="", file=sys.stderr, flush=True)
    print(f"{len(scores['random'])} clips in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    if args.json:
        for name in scores:
            print(json.dumps(record(scores, name)))
    else:
        show(scores)
    beaten = all(gain.mean > gain.margin for method in METHODS for gain in gains(scores, method, "random"))
    return 0 if beaten else 1


if __name__ == "__main__":
    raise SystemExit(main())
