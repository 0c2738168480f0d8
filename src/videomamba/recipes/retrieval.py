"""How well a video-text model finds videos by their captions and captions by their videos.

The protocol is that of the original: similarities of the dual encoder without a temperature, then the first k candidates of
each query in the order of their match logits, in both directions. What differs: fp32 throughout, ties that favour no answer,
and each process encodes only its own videos. Besides, the order by the sum of both scores is measured, which BLIP (arXiv
2201.12086) uses.

Memory: the vectors of all videos, the states of all texts (see `EncodedTexts`) and a few matrices (videos, texts) of fp32 are
held by each process. The tokens of its videos, 3.6 MB each for 8 frames of VideoMamba-M, are kept as long as they take
`keep_bytes` in all; the videos of the others are read and encoded once more when their pairs are matched. The tokens of a block
of four videos, and 32 pairs, are on the device at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videomamba.data.loading.dataset import EvaluationBatch
from videomamba.data.loading.loader import EvaluationLoader
from videomamba.data.settings import DataSettings, TextDataSettings
from videomamba.data.text.tokenizer import Tokenizer
from videomamba.evaluation.metrics import NOT_FINITE
from videomamba.evaluation.results import describe_clip
from videomamba.evaluation.retrieval import Pairs, Reranked, RetrievalReport, RetrievalResult, candidates, recalls
from videomamba.models.video_text import VideoText, similarity
from videomamba.recipes.measured import MeasuredTexts, choose_texts, text_settings
from videomamba.recipes.testing import Progress
from videomamba.recipes.text.protocols import protocol as known_protocol
from videomamba.recipes.text.scores import EncodedTexts, encode_texts, in_precision, match_texts
from videomamba.schema import Captions, Preprocess, VideoError, VideoMambaError, VideoRecord, VideoSet, counted
from videomamba.training.distributed import Processes
from videomamba.video.find import describe_ignored
from videomamba.weights.video_text import PretrainedVideoText, open_video_text

RERANK = 128
"""Candidates of a query that are matched, in the original's tests."""

KEEP_BYTES = 4 * 2**30
"""Of the tokens of videos that a process keeps by default."""

_VIDEOS_AT_ONCE = 64  # rows of the similarity in one product


@dataclass(frozen=True)
class Queries:
    """The distinct videos and the texts of a set of captions, and which belong together.

    A video is a file, or a part of one. Each caption of each record is a text; with `merged`, equal captions are one text, and
    each of their videos is a right answer to it.
    """

    videos: VideoSet
    texts: tuple[str, ...]
    pairs: Pairs

    @classmethod
    def of(cls, video_set: VideoSet, *, merged: bool = False) -> Self:
        """Raises VideoMambaError for a set without captions."""
        if video_set.task != "captions":
            what = "is empty" if not video_set.records else f"is {video_set.task}"
            raise VideoMambaError(f"{video_set.name}: {what}; retrieval needs videos with captions")
        places: dict[tuple[str, tuple[float, float] | None], int] = {}
        records: list[VideoRecord] = []
        texts: list[str] = []
        owners: list[list[int]] = []
        known: dict[str, int] = {}
        for record in video_set.records:
            assert isinstance(record.annotation, Captions)
            video = places.setdefault((record.path, record.span), len(places))
            if video == len(records):
                records.append(replace(record, annotation=None))
            for text in record.annotation.texts:
                place = known.setdefault(text, len(texts)) if merged else len(texts)
                if place == len(texts):
                    texts.append(text)
                    owners.append([])
                if video not in owners[place]:
                    owners[place].append(video)
        videos = VideoSet(video_set.name, tuple(records))
        return cls(videos, tuple(texts), Pairs(tuple(map(tuple, owners)), len(records)))

    @property
    def shared(self) -> int:
        """The number of different captions that describe several videos."""
        found: dict[str, set[int]] = {}
        for text, videos in zip(self.texts, self.pairs.videos, strict=True):
            found.setdefault(text, set()).update(videos)
        return sum(len(videos) > 1 for videos in found.values())


@dataclass(frozen=True, eq=False)
class _Videos:
    """The videos of a process: row i of `vectors` (n, P, e) is video `numbers[i]`; `failures` are (number, reason)."""

    numbers: tuple[int, ...]
    vectors: Tensor
    failures: tuple[tuple[int, str], ...]


class RetrievalTest:
    """The captions of one split, by which models are tested. Close it, or use it in a `with` statement.

    `rerank` is the number of candidates that are matched, None: the dual encoder alone, which takes a fraction of the time.
    The result has the same bits for any number of processes and any `keep_bytes`; every process must call. `shortened` counts
    the texts that are longer than `max_length` and lose their end.

    Raises VideoMambaError for a set without captions, or a `max_length` without room for a word.
    """

    __test__ = False  # not a test of pytest's

    def __init__(
        self,
        video_set: VideoSet,
        preprocess: Preprocess,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        data: DataSettings,
        processes: Processes,
        rerank: int | None = None,
        merge_captions: bool = False,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self.queries = Queries.of(video_set, merged=merge_captions)
        self.rerank, self.processes = rerank, processes
        self.protocol = _protocol(preprocess, self.queries, rerank, max_length=max_length, merged=merge_captions)
        self._keep_bytes = keep_bytes
        self._tokens = tokenizer(self.queries.texts, max_length=max_length)
        self.shortened = sum(tokenizer.count(text) > max_length for text in self.queries.texts)
        self._loader = EvaluationLoader(
            self.queries.videos,
            preprocess=preprocess,
            data=data,
            rank=processes.rank,
            world=processes.world,
            pin_memory=processes.device.type == "cuda",
        )

    @torch.inference_mode()
    def __call__(self, model: VideoText, *, progress: Progress | None = None) -> RetrievalReport:
        """`model` in evaluation mode, on the device of the processes. `progress(done, total)` counts blocks of videos."""
        passes = 1 if self.rerank is None else 2
        total, done = passes * len(self._loader), 0

        def tick() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)

        device, names = self.processes.device, [record.path for record in self.queries.videos.records]
        texts = encode_texts(model, self._tokens, device=device, states=self.rerank is not None)
        mine, kept = self._encode(model, tick)
        parts = self.processes.gather(mine)
        failures = sorted(failure for part in parts for failure in part.failures)
        missed = [video for video, _ in failures]
        scores = self._similarity(parts, texts)
        dual = recalls(scores, self.queries.pairs, missed=missed)
        reranked = combined = None
        if self.rerank is not None:
            by_video = candidates(scores, self.rerank)
            by_text = candidates(np.ascontiguousarray(scores.T), self.rerank)
            logits, odds = self._match(model, texts, kept, missed, by_video, by_text, tick)

            def ordered(by: NDArray[np.float32]) -> RetrievalResult:
                return recalls(
                    scores,
                    self.queries.pairs,
                    missed=missed,
                    t2v=Reranked(by_text, np.take_along_axis(by.T, by_text, axis=1)),
                    v2t=Reranked(by_video, np.take_along_axis(by, by_video, axis=1)),
                )

            reranked = ordered(logits)
            combined = ordered(odds + scores / np.float32(model.temperature.item()))
        return RetrievalReport(
            self.protocol,
            dual,
            reranked,
            videos=tuple(names),
            texts=self.queries.texts,
            failures=tuple((names[video], reason) for video, reason in failures),
            combined=combined,
        )

    def _encode(self, model: VideoText, tick: Callable[[], None]) -> tuple[_Videos, list[dict[int, Tensor]]]:
        """This process's videos, and the tokens (m, d) of those of its first blocks, as many as there is room for."""
        numbers: list[int] = []
        vectors: list[Tensor] = []
        failures: list[tuple[int, str]] = []
        kept: list[dict[int, Tensor]] = []
        room = self._keep_bytes if self.rerank is not None else -1
        for batch in self._loader:
            found, tokens = self._block(model, batch)
            numbers += found
            vectors += found.values()
            failures += batch.failures
            failures += [(video, NOT_FINITE) for video in batch.records if video not in found]
            room -= sum(memory.nbytes for memory in tokens.values())
            if room >= 0:
                kept.append({video: memory.cpu() for video, memory in tokens.items()})
            tick()
        none = torch.empty(0, 1, model.config.embed_dim)
        return _Videos(tuple(numbers), torch.stack(vectors) if vectors else none, tuple(failures)), kept

    def _block(self, model: VideoText, batch: EvaluationBatch) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """The vectors (P, e) on the CPU and the tokens (m, d) of the videos of a block, without those that are not finite."""
        if not batch.records:
            return {}, {}
        features = model.encode_video(batch.video.to(self.processes.device))
        vectors = model.embed_videos(features.pooled).float().cpu()
        finite = vectors.isfinite().flatten(1).all(dim=1).tolist()
        rows = [(i, video) for i, video in enumerate(batch.records) if finite[i]]
        return {video: vectors[i] for i, video in rows}, {video: features.memory[i] for i, video in rows}

    def _similarity(self, parts: Sequence[_Videos], texts: EncodedTexts) -> NDArray[np.float32]:
        """(videos, texts); the rows of missed videos are -inf."""
        numbers = [video for part in parts for video in part.numbers]
        rows = np.argsort(np.array(numbers, dtype=np.int64)).tolist()
        vectors = torch.cat([part.vectors for part in parts if part.numbers]) if rows else torch.empty(0)
        scores = np.full((self.queries.pairs.num_videos, len(self.queries.texts)), -np.inf, dtype=np.float32)
        of_texts = texts.vectors.to(self.processes.device)
        for start in range(0, len(rows), _VIDEOS_AT_ONCE):
            part = rows[start : start + _VIDEOS_AT_ONCE]
            of_videos = vectors[part].to(self.processes.device)
            scores[[numbers[row] for row in part]] = similarity(of_videos, of_texts).cpu().numpy()
        return scores

    def _match(
        self,
        model: VideoText,
        texts: EncodedTexts,
        kept: list[dict[int, Tensor]],
        missed: Sequence[int],
        by_video: NDArray[np.int64],
        by_text: NDArray[np.int64],
        tick: Callable[[], None],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The match logits and the log-odds of a match, (videos, texts), of the candidates of both directions.

        Each pair is computed once; others are -inf.
        """
        wanted = [set(row) for row in by_video.tolist()]
        for text, row in enumerate(by_text.tolist()):
            for video in row:
                wanted[video].add(text)
        found: list[tuple[int, NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]] = []
        for tokens in self._tokens_of_videos(model, kept, missed):
            for video, memory in tokens.items():
                chosen = sorted(wanted[video])
                logits = match_texts(model, texts, chosen, memory, device=self.processes.device)
                odds = logits[:, 1] - logits[:, 0]
                found.append((video, np.array(chosen), logits[:, 1].numpy().copy(), odds.numpy().copy()))
            tick()
        matrix = np.full((2, len(by_video), len(by_text)), -np.inf, dtype=np.float32)
        for part in self.processes.gather(found):
            for video, places, *values in part:
                matrix[:, video, places] = values
        return matrix[0], matrix[1]

    def _tokens_of_videos(
        self, model: VideoText, kept: list[dict[int, Tensor]], missed: Sequence[int]
    ) -> Iterator[dict[int, Tensor]]:
        """The tokens (m, d) of the videos of each block of this process; empties `kept`."""
        first = len(kept)
        while kept:
            yield kept.pop(0)
        for batch in self._loader.after(first):
            for video, reason in batch.failures:
                if video not in missed:
                    path = self.queries.videos.records[video].path
                    raise VideoError(path, f"was readable a moment ago and no longer is ({reason}); measure again")
            yield self._block(model, batch)[1]

    def close(self) -> None:
        self._loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def evaluate_retrieval(
    weights: str | Path | PretrainedVideoText,
    data: TextDataSettings | str | Path,
    *,
    protocol: str | None = None,
    split: MeasuredTexts = "auto",
    rerank: int | None = RERANK,
    max_length: int | None = None,
    merge_captions: bool = False,
    keep_bytes: int = KEEP_BYTES,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    progress: Progress | None = None,
    notify: Callable[[str], object] = lambda message: None,
) -> RetrievalReport:
    """The result of a video-text model on the captions of a data set, of the dual encoder and re-ranked.

    `weights` is a zoo name or a weights file; `data` are the settings of a data set, its folder, or its list of captions.
    `protocol` is one of `text.protocols.PROTOCOLS`: it decides how captions are read and how long they may be. `rerank` None
    omits the second pass. `max_length` None is that of the protocol, else of the weights. With `merge_captions` equal captions
    are one text, for which each of their videos is right. Under torchrun the processes share the videos; each has the result.
    `notify` gets lines about what is measured. Raises VideoMambaError for weights of another kind and data without captions.
    """
    opened = weights if isinstance(weights, PretrainedVideoText) else open_video_text(weights)
    settings = text_settings(data)
    test = None if protocol is None else known_protocol(protocol)
    if test is not None:
        settings = test.settings(settings)
        notify(f"protocol {test.name}: {test.note}")
    usual = opened.max_length if test is None else test.max_length
    longest = usual if max_length is None else max_length
    limit = opened.model.config.text.max_positions
    if longest > limit:
        raise VideoMambaError(f"max_length {longest}: {opened.path} reads texts of at most {limit} tokens; lower it")
    if rerank is not None and rerank < 1:
        raise VideoMambaError(f"rerank {rerank}: give at least 1 candidate, or 0 on the command line for none")
    if rerank is not None and opened.model.config.text.fusion_from == opened.model.config.text.depth:
        raise VideoMambaError(f"{opened.path}: its text tower reads no videos, so it cannot re-rank; use --rerank 0")
    video_set, reason = choose_texts(opened.path, opened.info, settings, split, task="captions")
    for line in (*(f"ignored {line}" for line in describe_ignored(video_set.ignored)), reason):
        notify(line)
    processes = Processes(device=device)
    model = in_precision(opened.model, precision, processes.device)
    with RetrievalTest(
        video_set,
        opened.preprocess,
        opened.tokenizer,
        max_length=longest,
        data=settings,
        processes=processes,
        rerank=rerank,
        merge_captions=merge_captions,
        keep_bytes=keep_bytes,
    ) as retrieval:
        if retrieval.shortened:
            notify(f"{counted(retrieval.shortened, 'text')} longer than {longest} tokens, read without the end")
        if retrieval.queries.shared and not merge_captions:
            shared = counted(retrieval.queries.shared, "caption")
            notify(
                f"{shared} of several videos: only one video counts as right for each; --merge-captions counts all of them"
            )
        return retrieval(model, progress=progress)


def _protocol(preprocess: Preprocess, queries: Queries, rerank: int | None, *, max_length: int, merged: bool) -> str:
    sizes = f"{counted(len(queries.videos), 'video')} and {counted(len(queries.texts), 'text')}"
    equal = ", equal captions are one text" if merged else ""
    matched = "" if rerank is None else f", re-ranking of the first {rerank}"
    return f"{sizes} of up to {max_length} tokens{equal}, {describe_clip(preprocess)}{matched}"
