"""Multiple choice: which of several texts describes a video. The score mixes match and similarity, as for MSRVTT-MC.

Source: the released code (its test of multiple choice cannot start as shipped). There the similarities are divided by the
learned temperature, unlike in retrieval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from videomamba.data.loading.loader import EvaluationLoader
from videomamba.data.settings import DataSettings, TextDataSettings
from videomamba.data.text.tokenizer import Tokenizer
from videomamba.evaluation.choices import Choice, ChoiceReport, mixed_score
from videomamba.evaluation.metrics import NOT_FINITE
from videomamba.evaluation.results import describe_clip
from videomamba.models.video_text import VideoText, similarity
from videomamba.recipes.measured import MeasuredTexts, choose_texts, text_settings
from videomamba.recipes.testing import Progress
from videomamba.recipes.text.scores import encode_texts, in_precision, match_texts
from videomamba.schema import Choices, Preprocess, VideoMambaError, VideoSet, counted
from videomamba.training.distributed import Processes
from videomamba.video.find import describe_ignored
from videomamba.weights.video_text import PretrainedVideoText, open_video_text


def evaluate_choices(
    weights: str | Path | PretrainedVideoText,
    data: TextDataSettings | str | Path,
    *,
    split: MeasuredTexts = "auto",
    max_length: int | None = None,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    progress: Progress | None = None,
    notify: Callable[[str], object] = lambda message: None,
) -> ChoiceReport:
    """The accuracy of a video-text model on videos with several texts each, of which one is right.

    The arguments are those of `recipes.retrieval.evaluate_retrieval`. Raises VideoMambaError for weights of another kind and
    data without choices.
    """
    opened = weights if isinstance(weights, PretrainedVideoText) else open_video_text(weights)
    settings = text_settings(data)
    longest, limit = opened.max_length if max_length is None else max_length, opened.model.config.text.max_positions
    if longest > limit:
        raise VideoMambaError(f"max_length {longest}: {opened.path} reads texts of at most {limit} tokens; lower it")
    video_set, reason = choose_texts(opened.path, opened.info, settings, split, task="choices")
    for line in (*(f"ignored {line}" for line in describe_ignored(video_set.ignored)), reason):
        notify(line)
    processes = Processes(device=device)
    return choose(
        in_precision(opened.model, precision, processes.device),
        video_set,
        opened.preprocess,
        opened.tokenizer,
        max_length=longest,
        data=settings,
        processes=processes,
        progress=progress,
    )


@torch.inference_mode()
def choose(
    model: VideoText,
    video_set: VideoSet,
    preprocess: Preprocess,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    data: DataSettings,
    processes: Processes,
    progress: Progress | None = None,
) -> ChoiceReport:
    """The answers of `model`, in evaluation mode and on the device of the processes, each of which must call.

    The result has the same bits for any number of processes. Raises VideoMambaError for a set without choices.
    """
    if video_set.task != "choices":
        raise VideoMambaError(f"{video_set.name}: is {video_set.task}; multiple choice needs videos with several texts")
    questions = [record.annotation for record in video_set.records]
    plain = VideoSet(video_set.name, tuple(replace(record, annotation=None) for record in video_set.records))
    scores: dict[int, tuple[float, ...]] = {}
    failures: list[tuple[int, str]] = []
    device = processes.device
    with EvaluationLoader(
        plain,
        preprocess=preprocess,
        data=data,
        rank=processes.rank,
        world=processes.world,
        pin_memory=device.type == "cuda",
    ) as loader:
        for done, batch in enumerate(loader, 1):
            failures += batch.failures
            features = model.encode_video(batch.video.to(device)) if batch.records else None
            for row, record in enumerate(batch.records):
                question = questions[record]
                assert isinstance(question, Choices) and features is not None
                texts = encode_texts(
                    model, tokenizer(question.texts, max_length=max_length), device=device, states=True
                )
                memory, pooled = features.memory[row], features.pooled[row : row + 1]
                logits = match_texts(model, texts, range(len(question.texts)), memory, device=device)
                cosines = similarity(model.embed_videos(pooled), texts.vectors.to(device))[0] / model.temperature
                if logits.isfinite().all() and cosines.isfinite().all():
                    scores[record] = mixed_score(logits.softmax(dim=1)[:, 1].tolist(), cosines.tolist())
                else:
                    failures.append((record, NOT_FINITE))
            if progress is not None:
                progress(done, len(loader))
    parts = processes.gather((scores, failures))
    known = {record: found for part, _ in parts for record, found in part.items()}
    choices = tuple(
        Choice(record.path, question.right, known.get(i))
        for i, (record, question) in enumerate(zip(video_set.records, questions, strict=True))
        if isinstance(question, Choices)
    )
    lost = sorted(failure for _, part in parts for failure in part)
    return ChoiceReport(
        f"{counted(len(choices), 'question')}, texts of up to {max_length} tokens, {describe_clip(preprocess)}, "
        "0.7 match + 0.3 similarity",
        choices,
        tuple((video_set.records[i].path, reason) for i, reason in lost),
    )
