"""Whether the timeline of a long video finds its actions and their times.

    python benchmarks/timeline.py [--films 1] [--seconds 600] [--events 5] [--seed 0] [--stride 1] [--json]

Renders films as H.264 files: a drifting, flickering place in which actors come, stand still for a second, act for two, stand
still and go. The packaged model sees windows of 2 s. None of its 16 actions is "nothing", so it names one everywhere; a segment
begins where a class reaches the threshold.

An action is found when a segment of its class overlaps it, and found within one stride when start and end of that segment are
at most one stride from the action's. All other segments are counted: "appear" where an actor comes and "disappear" where one
goes are correct, the rest are false alarms. The exit code is 1 when an action is not found within one stride.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from videomamba import Predictor
from videomamba.evaluation.segments import Segment
from videomamba.serving.timeline import THRESHOLD, timeline
from videomamba.synthetic.film import Event, plan_events, write_film
from videomamba.weights.released import ACTIONS_MODEL

WINDOW = 2.0


def matched(events: list[Event], segments: list[Segment]) -> dict[int, Segment]:
    """Event number -> the segment of its class with the longest overlap."""
    found = {}
    for number, event in enumerate(events):
        shared = {s: min(s.end, event.end) - max(s.start, event.start) for s in segments if s.label == event.action}
        best = max(shared, key=shared.__getitem__, default=None)
        if best is not None and shared[best] > 0:
            found[number] = best
    return found


def true_of_the_picture(segment: Segment, events: list[Event]) -> bool:
    """Whether it is "appear" or "disappear" within half a window of an actor that comes or goes."""
    moments = {"appear": [e.seen[0] for e in events], "disappear": [e.seen[1] for e in events]}.get(segment.label, [])
    return any(segment.start - WINDOW / 2 <= moment <= segment.end + WINDOW / 2 for moment in moments)


def look(predictor: Predictor, folder: Path, args: argparse.Namespace, seed: int) -> dict[str, object]:
    film = folder / f"film_{seed}.mp4"
    events = plan_events(args.events, seconds=args.seconds, seed=seed)
    write_film(film, events, seconds=args.seconds, seed=seed)
    started = time.perf_counter()
    answer = timeline(predictor, film, window=WINDOW, stride=args.stride, threshold=args.threshold, thumbnails=0)
    took = time.perf_counter() - started
    segments = answer.segments()
    found = matched(events, segments)
    rows = []
    for number, event in enumerate(events):
        row: dict[str, object] = {"action": event.action, "start": event.start, "end": event.end}
        if number in found:
            segment = found[number]
            errors = (segment.start - event.start) / args.stride, (segment.end - event.end) / args.stride
            row |= {"found": [segment.start, segment.end], "score": segment.score, "errors_in_strides": errors}
            row["within_one_stride"] = max(map(abs, errors)) <= 1 + 1e-6
        else:
            row["within_one_stride"] = False
        rows.append(row)
    others = [segment for segment in segments if segment not in found.values()]
    false = [segment for segment in others if not true_of_the_picture(segment, events)]
    return {
        "seed": seed,
        "events": rows,
        "found": len(found),
        "within_one_stride": sum(bool(row["within_one_stride"]) for row in rows),
        "comings_and_goings_named": len(others) - len(false),
        "comings_and_goings": 2 * len(events),
        "false_alarms": [{"label": s.label, "start": s.start, "end": s.end, "score": s.score} for s in false],
        "windows": len(answer.starts),
        "frames": answer.video.num_frames,
        "frames_decoded": answer.frames_decoded,
        "seconds_per_minute_of_film": took / (args.seconds / 60),
    }


def show(record: dict[str, object]) -> None:
    print(f"film of seed {record['seed']}")
    for row in record["events"]:  # type: ignore[attr-defined]
        truth = f"  {row['action']:<24} {row['start']:7.2f} to {row['end']:7.2f} s"
        if "found" not in row:
            print(f"{truth}: not found")
            continue
        (start, end), (early, late) = row["found"], row["errors_in_strides"]
        verdict = "" if row["within_one_stride"] else "  MORE THAN ONE STRIDE"
        print(f"{truth}: {start:7.2f} to {end:7.2f} s, errors {early:+.2f} and {late:+.2f} strides{verdict}")
    for alarm in record["false_alarms"]:  # type: ignore[attr-defined]
        print(f"  false alarm: {alarm['label']}, {alarm['start']:.2f} to {alarm['end']:.2f} s ({alarm['score']:.2f})")
    print(
        f"  {record['comings_and_goings_named']} segments at the {record['comings_and_goings']} comings and goings of actors; "
        f"false alarms: {len(record['false_alarms'])}\n"  # type: ignore[arg-type]
        f"  {record['windows']} windows, {record['frames_decoded']} of {record['frames']} frames decoded and scaled, "
        f"{record['seconds_per_minute_of_film']:.2f} s for a minute of film",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--events", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stride", type=float, default=WINDOW / 2)
    parser.add_argument("--threshold", type=float, default=THRESHOLD)
    parser.add_argument("--json", action="store_true", help="one JSON record a film")
    args = parser.parse_args()
    predictor = Predictor.from_pretrained(ACTIONS_MODEL)
    found = within = false = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seed, args.seed + args.films):
            record = look(predictor, Path(folder), args, seed)
            found += int(str(record["found"]))
            within += int(str(record["within_one_stride"]))
            false += len(record["false_alarms"])  # type: ignore[arg-type]
            if args.json:
                print(json.dumps(record), flush=True)
            else:
                show(record)
    total = args.films * args.events
    print(
        f"films: {args.films} of {args.seconds:g} s; {found} of {total} actions found, {within} within one stride; "
        f"false alarms: {false}",
        file=sys.stderr if args.json else sys.stdout,
    )
    return 0 if within == total else 1


if __name__ == "__main__":
    raise SystemExit(main())
