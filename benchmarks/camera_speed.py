"""How long the shots of a film of 1080p take, and how much memory, beside decoding alone.

    python benchmarks/camera_speed.py --clips FOLDER [--minutes 10] [--model NAME] [--json]

Composes a minute of 1920x1080 at 24 frames a second of the videos and pictures in FOLDER, with cuts and fades, and repeats its
packets: a film of one minute and one of --minutes. On each it runs `videomamba timeline --out` as a user calls it, in a process
of its own, and decodes all frames of the film with the same number of threads and nothing else, in another one. The time of the
command contains start and decoding; memory is the largest that the process had.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import av
from commands import watched

from videomamba.cli.output import print_table
from videomamba.schema import VideoError, VideoMambaError
from videomamba.synthetic.camera.film import compose_film, find_pieces
from videomamba.weights.released import CAMERA_MODEL

PIECES = 20
"""About a minute: a piece is seen alone for three seconds on average; two of five joins are fades."""
DECODE = (
    "import av, sys\n"
    "with av.open(sys.argv[1]) as film:\n"
    "    film.streams.video[0].thread_type = 'AUTO'\n"
    "    print(sum(1 for _ in film.decode(video=0)))\n"
)


def repeated(source: Path, target: Path, times: int) -> float:
    """Writes the packets of `source` that many times in a row; the seconds of the result."""
    with av.open(str(target), "w") as new:
        with av.open(str(source)) as old:
            stream = new.add_stream_from_template(old.streams.video[0])
        shift = 0
        for _ in range(times):
            end = 0
            with av.open(str(source)) as old:
                for packet in old.demux(video=0):
                    if packet.dts is None or packet.pts is None:
                        continue
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    new.mux(packet)
                base = old.streams.video[0].time_base
            shift += end
        assert base is not None
        return float(shift * base)


def measure(film: Path, seconds: float, model: str, folder: Path) -> dict[str, float]:
    program = [sys.executable, "-m", "videomamba", "timeline", str(film), "--model", model, "--json"]
    alone = watched([sys.executable, "-c", DECODE, str(film)])
    shots = watched([*program, "--out", str(folder / "shots")])
    found = len(json.loads(shots.output)["shots"])
    facts = {"timeline_seconds": shots.seconds, "timeline_memory": shots.memory, "decoding_seconds": alone.seconds}
    return {"film_seconds": seconds, "shots": found, **facts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of videos and pictures for the film")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--model", default=CAMERA_MODEL)
    parser.add_argument("--json", action="store_true", help="one JSON record a line")
    args = parser.parse_args()
    try:
        sources = find_pieces(args.clips)
        with tempfile.TemporaryDirectory() as name:
            folder, records = Path(name), []
            compose_film(folder / "minute.mp4", sources, pieces=PIECES, seed=0, fps=24, height=1080, width=1920)
            for times in (1, args.minutes):
                film = folder / f"film_{times}.mp4"
                seconds = repeated(folder / "minute.mp4", film, times)
                records.append(measure(film, seconds, args.model, folder))
    except (VideoMambaError, VideoError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 1
    for record in records:
        if args.json:
            print(json.dumps(record))
    if not args.json:
        rows = [
            [
                f"{r['film_seconds']:.0f} s",
                f"{r['shots']}",
                f"{r['timeline_seconds']:.1f} s",
                f"{r['decoding_seconds']:.1f} s",
                f"{r['timeline_memory'] / 1e6:.0f} MB",
            ]
            for r in records
        ]
        print_table(["film", "shots", "timeline", "decoding alone", "memory of timeline"], rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
