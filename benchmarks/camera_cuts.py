"""Whether cuts and fades are found in films composed of real clips and pictures, beside PySceneDetect.

    python benchmarks/camera_cuts.py --clips FOLDER --model WEIGHTS [--count 4] [--pieces 30] [--seed 0] [--json]
    python benchmarks/camera_cuts.py FILM... --model WEIGHTS [--detector pyscenedetect]

Without films it composes some of the videos and pictures in FOLDER, which should contain no cuts themselves: pieces of one to
five seconds, joined by hard cuts, cross-fades and fades through black of 0.4 to 1.2 s, as H.264 of several sizes, rates and
qualities. A film that is given needs its FILM.joins.json beside it, as a former run left it (--keep FOLDER).

A transition is found when one is reported at most 0.2 s from its time, the middle of a fade, one to one. Precision counts all
that is reported of the kind. Beside it stands how many fades share at least half of their time with one that is reported. The
detectors of PySceneDetect do not tell cuts from fades: their precision is that of both kinds together, and for one kind only
the recall means something.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

from videomamba import Predictor
from videomamba.evaluation.transitions import TOLERANCE, TransitionScores, overlapping, pooled, score_transitions
from videomamba.schema import VideoMambaError
from videomamba.serving.shots.records import knows_shots
from videomamba.serving.timeline import timeline
from videomamba.synthetic.camera.film import Join, compose_film, find_pieces, read_joins

# height, width, frames a second, crf: one film has one of each
SHAPES = (
    (240, 426, Fraction(25), 20),
    (360, 640, Fraction(30000, 1001), 28),
    (180, 320, Fraction(24), 33),
    (480, 854, Fraction(30), 24),
)
KINDS = ("cut", "fade", "all")

Times = dict[str, list[float]]  # seconds by kind
Spans = list[tuple[float, float]]  # start and end of fades, where they are known


def of_kinds(pairs: list[tuple[str, float]]) -> Times:
    times = {kind: sorted(time for name, time in pairs if name == kind) for kind in ("cut", "fade")}
    return times | {"all": sorted(time for _, time in pairs)}


def ours(predictor: Predictor, film: Path) -> tuple[Times, Spans]:
    found = timeline(predictor, film, thumbnails=0).transitions
    return of_kinds([(t.kind, t.time) for t in found]), [(t.start, t.end) for t in found if t.kind == "fade"]


def detectors() -> dict[str, Callable[[Path], tuple[Times, Spans]]]:
    """The detectors of PySceneDetect by name, with their own settings."""
    try:
        import scenedetect
    except ModuleNotFoundError as error:
        raise VideoMambaError(
            "--detector pyscenedetect needs PySceneDetect; pip install scenedetect opencv-python-headless"
        ) from error

    def detector(kind: str) -> Callable[[Path], tuple[Times, Spans]]:
        def detect(film: Path) -> tuple[Times, Spans]:
            scenes = scenedetect.detect(str(film), getattr(scenedetect, kind)())
            times = [float(start.seconds) for start, _ in scenes[1:]]
            return dict.fromkeys(KINDS, times), []

        return detect

    return {kind: detector(kind) for kind in ("ContentDetector", "AdaptiveDetector", "ThresholdDetector")}


def compared(found: Times, joins: list[Join], *, told_apart: bool) -> dict[str, TransitionScores]:
    """By kind. A detector that does not tell them apart has found nothing else of one kind: its precision is no figure."""
    true = of_kinds([("cut" if join.kind == "cut" else "fade", join.time) for join in joins])
    scores = {kind: score_transitions(found[kind], true[kind], tolerance=TOLERANCE) for kind in KINDS}
    if told_apart:
        return scores
    return {kind: score if kind == "all" else replace(score, found=0) for kind, score in scores.items()}


def show(name: str, scores: dict[str, TransitionScores], overlapped: int, seconds: float) -> None:
    cells = []
    for kind in KINDS:
        score = scores[kind]
        precision = "-" if score.precision is None else f"{score.precision:.3f}"
        recall = "-" if score.recall is None else f"{score.recall:.3f}"
        error = "-" if score.error is None else f"{score.error:.3f} s"
        cells.append(f"{kind}: precision {precision}, recall {recall} of {score.true}, error {error}")
    cells[KINDS.index("fade")] += f", overlapping {overlapped}"
    print(f"{name:<18} " + ";  ".join(cells) + f"  ({seconds:.0f} s)", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="*", type=Path, metavar="FILM")
    parser.add_argument("--clips", type=Path, help="folder of videos and pictures of which films are composed")
    parser.add_argument("--count", type=int, default=4, help="films to compose")
    parser.add_argument("--pieces", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder in which the composed films stay")
    parser.add_argument("--model", required=True, help="name or weights of a model of camera motion")
    parser.add_argument("--detector", choices=["pyscenedetect"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if bool(args.films) == bool(args.clips):
        parser.error("give films, or --clips FOLDER to compose some")
    try:
        return compare(args)
    except VideoMambaError as error:
        print(f"camera_cuts: {error}", file=sys.stderr)
        return 1


def compare(args: argparse.Namespace) -> int:
    predictor = Predictor.from_pretrained(args.model)
    if not knows_shots(predictor.labels):
        raise VideoMambaError(f'{args.model}: has no classes "cut" and "fade"; give a model of camera motion (--model)')
    finders: dict[str, Callable[[Path], tuple[Times, Spans]]] = {"videomamba": lambda film: ours(predictor, film)}
    if args.detector:
        finders |= detectors()
    scores: dict[str, list[dict[str, TransitionScores]]] = {name: [] for name in finders}
    seconds, overlapped = dict.fromkeys(finders, 0.0), dict.fromkeys(finders, 0)
    with tempfile.TemporaryDirectory() as folder:
        for film in args.films or composed(args, args.keep or Path(folder)):
            joins = read_joins(film.with_suffix(".joins.json"))
            for name, find in finders.items():
                started = time.perf_counter()
                found, spans = find(film)
                seconds[name] += time.perf_counter() - started
                overlapped[name] += overlapping(spans, [(j.start, j.end) for j in joins if j.kind != "cut"])
                scores[name].append(compared(found, joins, told_apart=name == "videomamba"))
    for name, films in scores.items():
        total = {kind: pooled([film[kind] for film in films]) for kind in KINDS}
        if args.json:
            record = {
                kind: {**asdict(score), "precision": score.precision, "recall": score.recall}
                for kind, score in total.items()
            }
            record["fade"]["overlapping"] = overlapped[name]
            print(json.dumps({"detector": name, "films": len(films), "seconds": seconds[name], **record}), flush=True)
        else:
            show(name, total, overlapped[name], seconds[name])
    return 0


def composed(args: argparse.Namespace, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    sources = find_pieces(args.clips)
    films = []
    for number in range(args.count):
        height, width, fps, crf = SHAPES[number % len(SHAPES)]
        film = folder / f"film_{args.seed + number}.mp4"
        compose_film(
            film, sources, pieces=args.pieces, seed=args.seed + number, fps=fps, height=height, width=width, crf=crf
        )
        print(f"{film.name}: composed", file=sys.stderr, flush=True)
        films.append(film)
    return films


if __name__ == "__main__":
    raise SystemExit(main())
