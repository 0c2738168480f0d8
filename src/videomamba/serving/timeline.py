"""Timelines of videos of any length: the classes of windows that slide over a video, and the segments found in them.

Every window goes through the network alone: all states of a bidirectional network depend on the end of the window, so that
the next window cannot use them. Neighbouring windows share only frames (`data.clips.windows`). Each frame that any window
needs is decoded, scaled and normalised once, in one walk through the file.

Shape letters: k windows, n frames of a window, t frames of a part of the video, h height, w width.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videomamba.data.clips.windows import Windows
from videomamba.evaluation.segments import Segment, cell_edges, find_segments
from videomamba.files import make_folder, replace_text, write_atomically
from videomamba.schema import Frames, VideoError, VideoInfo, VideoMambaError, WeightsError
from videomamba.serving.clip_model import about, check_model
from videomamba.serving.predictor import Predictor
from videomamba.serving.shots.album import ShotAlbum
from videomamba.serving.shots.find import transitions_and_shots
from videomamba.serving.shots.motions import UNSURE_BELOW
from videomamba.serving.shots.records import Shot, Transition, knows_shots
from videomamba.serving.shots.signal import FrameSignal
from videomamba.serving.shots.table import shot_table
from videomamba.serving.shots.timecode import varies
from videomamba.serving.window_walk import WindowWalk
from videomamba.video.open import open_video
from videomamba.video.picture import shrunk

THRESHOLD = 0.75
_MORE_LIKELY_THAN_NOT = 0.5  # a segment starts at the threshold and continues while its class has this probability
_TOP = 5  # classes of each window in the JSON form
_THUMBNAIL_HEIGHT = 72


class Thumbnail(NamedTuple):
    """A small picture (h, w, 3) uint8 RGB of the video at `time` seconds."""

    time: float
    picture: NDArray[np.uint8]


@dataclass(frozen=True, repr=False)
class Timeline:
    """`scores[i]` (k, classes) fp32 are the probabilities of the window of `window` seconds from `starts[i]` (k,) on.

    A video of less than `window` seconds has one window, which is as long as the video. `duration` is from the first frame
    to the end of the last one in seconds, 0 for a single picture. `threshold`, `bridge` and `shortest` are the defaults of
    `segments`. `model` is the name of the network that answered, "" where it has none.

    A model of camera motion, whose labels contain "cut" and "fade", also gives `transitions` and `shots`, in order of time;
    every video has at least one shot. `unsure` is the probability below which a motion is "unsure". `variable_rate`: the
    frames of the video have different lengths, so that timecodes, which count frames at the average rate, are approximate.
    """

    video: VideoInfo
    duration: float
    labels: tuple[str, ...]
    window: float
    stride: float
    starts: NDArray[np.float64]
    scores: NDArray[np.float32]
    frames_decoded: int
    thumbnails: tuple[Thumbnail, ...] = ()
    threshold: float = THRESHOLD
    bridge: float = 0.0
    shortest: float = 0.0
    model: str = ""
    transitions: tuple[Transition, ...] = ()
    shots: tuple[Shot, ...] = ()
    unsure: float = UNSURE_BELOW
    variable_rate: bool = False

    def __post_init__(self) -> None:
        _check_segments(self.threshold, self.bridge, self.shortest)

    def __repr__(self) -> str:
        return f"Timeline({self.video.path!r}, {len(self.starts)} windows of {self.window:g} s)"

    @property
    def path(self) -> str:
        return self.video.path

    @property
    def edges(self) -> NDArray[np.float64]:
        """(k + 1,) seconds: window i answers for the time from edge i to edge i + 1."""
        return cell_edges(self.starts, self.window, self.duration)

    def segments(
        self, *, threshold: float | None = None, bridge: float | None = None, shortest: float | None = None
    ) -> list[Segment]:
        """Where a class reaches `threshold`, in order of time; a segment continues while its class has at least one half.

        Gaps in a class of at most `bridge` seconds are closed; then segments of less than `shortest` seconds are dropped.
        None is the timeline's own value. Raises VideoMambaError for a threshold outside (0, 1] or negative seconds.
        """
        threshold = self.threshold if threshold is None else threshold
        bridge = self.bridge if bridge is None else bridge
        shortest = self.shortest if shortest is None else shortest
        _check_segments(threshold, bridge, shortest)
        return find_segments(
            self.scores,
            self.edges,
            self.labels,
            threshold=threshold,
            keep=min(threshold, _MORE_LIKELY_THAN_NOT),
            bridge=bridge,
            shortest=shortest,
        )

    def as_dict(self) -> dict[str, object]:
        """The JSON form: the video, the settings, the segments, and the best 5 classes of every window."""
        best = np.argsort(-self.scores, axis=1, kind="stable")[:, :_TOP]
        length = min(self.window, self.duration)
        record: dict[str, object] = {
            "path": self.path,
            "model": self.model,
            "seconds": round(self.duration, 6),
            "fps": self.video.fps,
            "frames": self.video.num_frames,
            "frames_decoded": self.frames_decoded,
            "window": self.window,
            "stride": self.stride,
            "threshold": self.threshold,
            "segments": [
                {"label": s.label, "start": round(s.start, 6), "end": round(s.end, 6), "score": s.score, "peak": s.peak}
                for s in self.segments()
            ],
            "windows": [
                {
                    "start": round(float(start), 6),
                    "end": round(float(start) + length, 6),
                    "top": [{"label": self.labels[c], "score": float(self.scores[i, c])} for c in best[i]],
                }
                for i, start in enumerate(self.starts)
            ],
        }
        if self.shots:
            record["unsure"] = self.unsure
            record["variable_rate"] = self.variable_rate
            record["transitions"] = [_rounded(transition) for transition in self.transitions]
            record["shots"] = [_rounded(shot) for shot in self.shots]
        return record

    def draw(self, path: str | Path) -> None:
        """Writes a PNG with small pictures of the video above, and the shots, or else the classes, against time.

        Shots are a lane with the motions of the camera; cuts are lines, fades shaded spans. Without shots each class has a
        row, and the segments are framed. Raises VideoMambaError where matplotlib is not installed or the file cannot be
        written.
        """
        from videomamba.evaluation.plot import save_shots, save_timeline

        name = Path(self.path).name.encode("utf-8", "backslashreplace").decode()  # it need not be valid text
        title = f"{name}: windows of {self.window:g} s every {self.stride:g} s" + (
            f", {self.model}" if self.model else ""
        )
        if self.shots:
            spans = [(m.label, m.start, m.end) for shot in self.shots for m in shot.motions]
            changes = [(t.kind, t.start, t.end, t.time) for t in self.transitions]
            lane = (spans, changes, self.thumbnails, self.duration)
            write_atomically(Path(path), lambda target: save_shots(target, *lane, labels=self.labels, title=title))
            return
        picture = (self.scores, self.edges, self.labels, self.segments(), self.thumbnails)
        write_atomically(Path(path), lambda target: save_timeline(target, *picture, title=title))

    def write(self, folder: str | Path, *, picture: bool = True, edit_list: bool = True) -> None:
        """Writes NAME.timeline.json into `folder`, which is made, and with `picture` NAME.timeline.png (see `draw`).

        Where there are shots, it also writes NAME.shots.csv, and with `edit_list` NAME.edl, which needs OpenTimelineIO. NAME is
        `timeline_name` of the video. Raises VideoMambaError where they cannot be written.
        """
        make_folder(Path(folder))
        name = timeline_name(self.path)
        texts = {"timeline.json": json.dumps(self.as_dict(), allow_nan=False, indent=1) + "\n"}
        if self.shots:
            texts["shots.csv"] = shot_table(self.shots, fps=self.video.fps)
        if self.shots and edit_list:
            from videomamba.serving.shots.edit_list import edit_list as as_edit_list

            texts["edl"] = as_edit_list(self.path, self.shots, fps=self.video.fps)
        for ending, text in texts.items():
            replace_text(Path(folder) / f"{name}.{ending}", text)
        if picture:
            self.draw(Path(folder) / f"{name}.timeline.png")


def _rounded(found: Shot | Transition) -> dict[str, object]:
    """The JSON form, with times in microseconds as elsewhere."""

    def rounded(record: dict[str, Any]) -> dict[str, Any]:
        return {key: round(value, 6) if key in ("start", "end", "time") else value for key, value in record.items()}

    record = rounded(asdict(found))
    return record | {"motions": [rounded(span) for span in record["motions"]]} if "motions" in record else record


def timeline_name(path: str | Path) -> str:
    """The video's name without its ending; the whole name of a folder of images, "." included."""
    path = Path(path)
    return path.stem if path.suffix and not path.is_dir() else path.resolve().name


def timeline(
    predictor: Predictor,
    path: str | Path,
    *,
    window: float | None = None,
    stride: float | None = None,
    threshold: float = THRESHOLD,
    bridge: float = 0.0,
    shortest: float = 0.0,
    unsure: float = UNSURE_BELOW,
    thumbnails: int = 10,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Timeline:
    """The timeline of the video at `path`: classifies windows of `window` seconds, one every `stride` seconds.

    `window` None is the length of the clips that the model was trained on (`Preprocess.clip_seconds`), `stride` None is half
    a window. `threshold`, `bridge` and `shortest` choose the segments, see `Timeline.segments`. The frames of a window are
    as many as the model takes, spread evenly over it, whatever the sampling of its training.

    A model whose labels contain "cut" and "fade" also finds transitions and shots; a motion of the camera whose probability is
    below `unsure` is "unsure".

    A thread decodes ahead of the network. Memory hardly grows with the video: besides `batch` windows and a few pieces of
    the video that wait for them, only the scores, the table of frames, `thumbnails` small pictures and, for shots, 192 bytes of
    each decoded frame are kept.
    `progress(done, total)` counts windows.

    Raises VideoError when the video or a frame that is needed cannot be read; VideoMambaError for an invalid window, stride
    or probability, and for no window where the model has none either; WeightsError when the scores are not finite.
    """
    check_model(predictor, use="timeline(Predictor.from_pretrained(NAME_OR_FILE), path)")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    _check_segments(threshold, bridge, shortest)
    if not 0 <= unsure <= 1:
        raise VideoMambaError(f"unsure {unsure:g}: give a probability, 0 to 1")
    signal = FrameSignal() if knows_shots(predictor.labels) else None
    transitions: tuple[Transition, ...] = ()
    shots: tuple[Shot, ...] = ()
    windows = Windows.for_model(predictor.preprocess, window=window, stride=stride)
    if windows.stride > windows.window:
        raise VideoMambaError(
            f"stride {windows.stride:g}: longer than the window of {windows.window:g} s, which would skip parts of the "
            "video; choose a shorter stride"
        )
    try:
        with open_video(path) as video:
            timestamps = video.timestamps
            walk = WindowWalk(video, windows)
            album = (
                _Album(walk.needed, thumbnails) if signal is None else ShotAlbum(thumbnails, height=_THUMBNAIL_HEIGHT)
            )
            scores = np.empty((len(walk.starts), len(predictor.labels)), np.float32)
            done = 0
            see = partial(signal.see, preprocess=predictor.preprocess) if signal else lambda pixels: None
            with closing(walk.clips(predictor.preprocess, album.look, see=see)) as found:
                while clips := list(islice(found, batch)):
                    scores[done : done + len(clips)] = predictor.logits(clips).softmax(1).numpy()
                    done += len(clips)
                    if progress is not None:
                        progress(done, len(walk.starts))
            if not np.isfinite(scores).all():
                raise WeightsError(f"{path}: the model's scores are not finite; its weights are damaged")
            if signal is not None:
                transitions, shots = transitions_and_shots(
                    scores,
                    walk.starts,
                    walk.length,
                    predictor.labels,
                    signal=signal,
                    needed=walk.needed,
                    video=video,
                    preprocess=predictor.preprocess,
                    duration=walk.duration,
                    unsure_below=unsure,
                )
    except VideoError as error:
        raise about(path, error) from None
    return Timeline(
        video=video.info,
        duration=walk.duration,
        labels=predictor.labels,
        window=windows.window,
        stride=windows.stride,
        starts=walk.starts,
        scores=scores,
        frames_decoded=len(walk.needed),
        thumbnails=tuple(
            Thumbnail(*picture) for picture in (album.of(shots) if isinstance(album, ShotAlbum) else album.pictures)
        ),
        threshold=threshold,
        bridge=bridge,
        shortest=shortest,
        model=predictor.name,
        transitions=transitions,
        shots=shots,
        unsure=unsure,
        variable_rate=varies(timestamps),
    )


def _check_segments(threshold: float, bridge: float, shortest: float) -> None:
    if not 0 < threshold <= 1:
        raise VideoMambaError(f"threshold {threshold:g}: give a probability above 0 and at most 1")
    for name, value in (("bridge", bridge), ("shortest", shortest)):
        if not 0 <= value < float("inf"):
            raise VideoMambaError(f"{name} {value:g}: give seconds, 0 or more")


class _Album:
    """Small pictures of frames that pass by; `number` of them, evenly spread over the `needed` frames."""

    def __init__(self, needed: NDArray[np.int64], number: int) -> None:
        places = ((np.arange(number) + 0.5) * len(needed) / max(number, 1)).astype(np.int64)
        self._wanted = set(needed[places].tolist())
        self.pictures: list[Thumbnail] = []

    def look(self, frames: Frames) -> None:
        for place, index in enumerate(frames.indices):
            if index in self._wanted:
                picture = shrunk(frames.data[place], height=_THUMBNAIL_HEIGHT)
                self.pictures.append(Thumbnail(frames.timestamps[place], picture.numpy()))
