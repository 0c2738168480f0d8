"""Questions to an index of videos: moments that fit a sentence, a video, or a moment of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from functools import cached_property
from math import inf
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from videomamba.data.clips.windows import Windows
from videomamba.schema import VideoError, VideoMambaError
from videomamba.serving.clip_model import about
from videomamba.serving.search.encoder import Encoder
from videomamba.serving.search.facts import stored_name
from videomamba.serving.search.moments import Ask, Merge, Moment
from videomamba.serving.search.settings import IndexSettings, check_model
from videomamba.serving.search.table import WindowTable, duration_condition, path_condition
from videomamba.serving.window_walk import WindowWalk
from videomamba.video.open import open_video

TOP = 10
_QUERY_WINDOWS = 16  # of a long example, evenly spread


class Search:
    """An index that `videomamba index` made, opened for questions. The network is opened with the first one that needs it.

    `model` is that of the index (None: the name or path that it was made with); its weights must be the same. `folder` is the
    indexed folder, `complete` whether the last run of `videomamba index` has finished; if not, its videos so far answer.

    Raises VideoMambaError, one line, for an index that is missing, damaged, of another version, or has no videos yet.
    """

    def __init__(self, index: str | Path, *, model: str | None = None, device: str = "cpu") -> None:
        address = str(index)
        table = WindowTable.open(address)
        if table is None:
            raise VideoMambaError(f"{address}: no such index; make one with `videomamba index FOLDER --out {address}`")
        self.address, self._table, self._model, self._device = address, table, model, device
        self.settings = IndexSettings.of(table)
        state = table.state
        self.folder, self.complete = Path(state.get("folder", "")), state.get("complete") == "yes"
        self.windows = table.windows()
        if not self.windows:
            which = "no video that can be read" if self.complete else "no video yet, its first run was interrupted"
            raise VideoMambaError(f"{address}: has {which}; run `videomamba index FOLDER --out {address}`")
        if model is not None:
            check_model(self.settings, model, address)

    def text(
        self,
        text: str,
        *,
        top: int = TOP,
        path: str | None = None,
        min_duration: float | None = None,
        max_duration: float | None = None,
        merge: Merge = "moments",
    ) -> list[Moment]:
        """The `top` moments that fit the sentence best.

        `path` is a pattern such as "holidays/*" for paths below the indexed folder, where * is any text, also with "/".
        `min_duration` and `max_duration` are seconds of the complete video. `merge`: windows of one video overlap, so
        "moments" leaves out those that overlap a better one, "videos" all but the best of each video, "none" keeps all.

        Raises VideoMambaError for an index whose model reads no text, and for a text without words.
        """
        if not self.settings.text:
            raise VideoMambaError(
                f"{self.address}: was made by {self.settings.model}, which reads no text; search by --video or --like, or "
                "index with a video-text model"
            )
        ask = self._question(top, path, min_duration, max_duration, merge)
        return ask(self._encoder.text(text))

    def video(
        self,
        file: str | Path,
        *,
        top: int = TOP,
        path: str | None = None,
        min_duration: float | None = None,
        max_duration: float | None = None,
        merge: Merge = "moments",
    ) -> list[Moment]:
        """The `top` moments that resemble the video at `file`, cut into windows as in the index: the best pair counts.

        The other arguments are those of `text`. Raises VideoError when the file cannot be read.
        """
        ask = self._question(top, path, min_duration, max_duration, merge)
        return ask(self._of_file(file, lambda walk: np.arange(len(walk.starts))))

    def like(
        self,
        moment: str,
        *,
        top: int = TOP,
        path: str | None = None,
        min_duration: float | None = None,
        max_duration: float | None = None,
        merge: Merge = "moments",
    ) -> list[Moment]:
        """The `top` moments that resemble `moment`, "FILE@SECONDS": of the index, by its path there, or of any other file.

        The moment itself is not an answer. The other arguments are those of `text`. Raises VideoMambaError where there is no
        such moment, VideoError when the file cannot be read.
        """
        file, at = _parsed(moment)
        ask = self._question(top, path, min_duration, max_duration, merge)
        name = self._name(file)
        spans, vectors = self._table.vectors_of(name)
        if not len(spans):
            if self._table.has(name):  # it could not be read when it was indexed
                file = str(self.folder / name)
            elif not os.path.lexists(file):
                raise VideoMambaError(f"{moment}: {file} is neither in {self.address} nor a file; check its name")
            return ask(self._of_file(file, lambda walk: _nearest_window(walk.starts, walk.length, at, file)))
        starts, length = spans[:, 0], float(spans[0, 1] - spans[0, 0])
        (place,) = _nearest_window(starts, length, at, name)
        start, end = spans[place].tolist()
        return ask(vectors[place][None], without=Moment(name, start, end, 1.0))

    def _name(self, file: str) -> str:
        """The name that `file` has in the index, if it is in it."""
        try:
            return stored_name(Path(file).resolve(strict=True), self.folder)
        except (OSError, RuntimeError, ValueError):  # no file, a link to itself, below another folder: perhaps the name
            return Path(file).as_posix()

    @cached_property
    def _encoder(self) -> Encoder:
        name = self._model or self.settings.model
        if self._model is None:
            check_model(self.settings, name, self.address)
        clip = self.settings.preprocess
        return Encoder.open(
            name,
            num_frames=clip.num_frames,
            image_size=clip.image_size,
            device=self._device,
            precision=self.settings.precision,
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of the network, if a question has needed it so far."""
        return self._encoder.model.remarks if "_encoder" in vars(self) else ()

    def _of_file(self, file: str | Path, choose: Callable[[WindowWalk], NDArray[np.int64]]) -> NDArray[np.float32]:
        """The vectors (q, d) of those windows of a file that `choose` names, at most _QUERY_WINDOWS of them."""
        clip = self.settings.preprocess
        windows = Windows(self.settings.window, self.settings.stride, clip.num_frames)
        try:
            with open_video(file) as video:
                walk = WindowWalk(video, windows)
                places = choose(walk)
                if len(places) > _QUERY_WINDOWS:
                    places = places[np.linspace(0, len(places) - 1, _QUERY_WINDOWS).round().astype(np.int64)]
                walk.keep(places)
                with closing(walk.clips(clip)) as clips:
                    vectors = self._encoder.vectors(list(clips))
        except VideoError as error:
            raise about(file, error) from None
        if not np.isfinite(vectors).all():
            raise VideoError(file, "its vectors hold numbers that are not finite; the weights are damaged")
        return vectors

    def _question(
        self, top: int, path: str | None, min_duration: float | None, max_duration: float | None, merge: Merge
    ) -> Ask:
        if top < 1:
            raise VideoMambaError(f"top {top}: give at least 1 moment")
        if merge not in get_args(Merge):
            raise VideoMambaError(f"merge {merge!r}: choose one of {', '.join(get_args(Merge))}")
        for name, seconds in (("min_duration", min_duration), ("max_duration", max_duration)):
            if seconds is not None and not 0 <= seconds < inf:
                raise VideoMambaError(f"{name} {seconds:g}: give seconds, 0 or more")
        conditions = duration_condition(min_duration, max_duration)
        if path is not None:
            conditions.append(path_condition(path))
        return Ask(self._table, " AND ".join(conditions) or None, top, merge)


def _parsed(moment: str) -> tuple[str, float]:
    file, _, time = moment.rpartition("@")
    try:
        at = float(time)
    except ValueError:
        at = -1.0
    if not file or not 0 <= at < inf:
        raise VideoMambaError(f"{moment}: names no moment; write FILE@SECONDS, such as clip.mp4@12.5")
    return file, at


def _nearest_window(starts: NDArray[np.float64], length: float, at: float, file: str) -> NDArray[np.int64]:
    """(1,) the window that has `at` nearest to its middle."""
    end = float(starts[-1]) + length
    if at > end:
        raise VideoMambaError(f"{file}@{at:g}: the video ends at {end:.1f} s; give an earlier moment")
    return np.array([np.abs(starts + length / 2 - at).argmin()])
