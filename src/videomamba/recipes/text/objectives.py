"""What training on videos and texts minimises: four losses of each pair, from one forward pass.

Sources: arXiv 2107.07651 (contrastive, matching), 1810.04805 (words), 2303.16058 (alignment with a teacher).

Shapes: b pairs, l tokens of the longest text, v visible patches, m tokens of a memory, k layers that are compared with a
teacher, c its width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videomamba.data.text.word_masks import IGNORED
from videomamba.models.video_text import TEMPERATURES, VideoText, similarity
from videomamba.recipes.text.config import Objectives
from videomamba.recipes.text.pairs import LOTS
from videomamba.training.contrastive import Rows, contrastive_losses, equal_ids, hard_negatives
from videomamba.training.losses import alignment_loss
from videomamba.training.settings import Distance

MODEL = "model."
"""What the names of the parameters of the model begin with in `PairLosses`."""


class PairLosses(nn.Module):
    """A video-text model that returns losses: the module in training. Parameters that no loss reaches are frozen.

    Everything is one call, because the processes of a run find each other in its backward pass.
    """

    def __init__(self, model: VideoText, objectives: Objectives, distance: Distance = "l2") -> None:
        super().__init__()
        self.model = model
        self._objectives, self._distance = objectives, distance
        freeze_unused(model, objectives)

    def forward(
        self,
        *,
        video: Tensor,
        visible: Tensor | None,
        targets: Tensor | None,
        ids: Tensor,
        mask: Tensor,
        masked_ids: Tensor | None,
        word_targets: Tensor | None,
        keys: Tensor,
        groups: Tensor,
        uniform: Tensor,
        sizes: tuple[int, ...],
        rank: int,
        word_scale: float,
    ) -> dict[str, Tensor]:
        """The losses (b,) of pairs by name, without their weights; the mean over the pairs of all processes is the loss.

        video: (b, 3, t, h, w), and `visible` (b, v), the patches that the network sees, None: all. targets: (k, b, 1 + v, c),
        those of the teacher. ids, mask: (b, l), the tokens. masked_ids: (b, l) with masked words, word_targets: (b, l), what
        these were, or `IGNORED`. keys: (b, j) int64, the identities of a pair: pairs that share one are no negatives. groups:
        (b,) int64; wrong pairs are drawn within a group, with the random numbers `uniform` (b, 2) int64 below `LOTS`. sizes:
        the number of pairs of each process, of which this is process `rank`. word_scale: pairs per masked word, over all
        processes.

        A process without pairs passes a substitute of one, whose losses (1,) are 0.
        """
        model, settings = self.model, self._objectives
        with torch.no_grad():
            model.temp.clamp_(*TEMPERATURES)
        rows = Rows(sizes, rank)
        count, real = len(ids), sizes[rank] > 0
        texts, masks = (ids, mask) if masked_ids is None else (torch.cat((ids, masked_ids)), torch.cat((mask, mask)))
        features = model.encode_video(video, visible, per_frame=settings.per_frame)
        states = model.encode_text(texts, masks)
        videos, sentences = model.embed_videos(features.pooled), model.embed_texts(states[:count])
        used = count if real else 0
        found = {
            "contrastive": contrastive_losses(
                videos[:used],
                sentences[:used],
                keys[:used],
                model.temperature,
                rows,
                official_scale=settings.official_scale,
            )
        }
        pairs: list[tuple[Tensor, Tensor, Tensor]] = []  # states, mask, memory: all that reads a video, in one pass
        there = None
        if settings.matching:
            negatives, there = self._negatives(videos, sentences, keys, groups, uniform)
            pairs += _matched(states[:count], mask, features.memory, *negatives)
        if word_targets is not None:
            pairs.append((states[count:], mask, features.memory))
        if pairs:
            fused = model.fuse(*(torch.cat(parts) for parts in zip(*pairs, strict=True)))
        if there is not None:
            found["matching"] = _matching_losses(model.match(fused[: 3 * count]), there)
        if word_targets is not None:
            found["words"] = word_scale * self._words(fused[-count:], word_targets)
        if settings.align:
            assert features.aligned is not None and targets is not None
            found["align"] = alignment_loss(features.aligned, targets, self._distance)
        if video.shape[2] == 1 and model.config.video.grid[0] > 1:  # pictures have no place in time
            found["contrastive"] = found["contrastive"] + 0 * model.vision_encoder.temporal_pos_embedding.sum()
        return found if real else {name: 0 * losses.sum()[None] for name, losses in found.items()}

    @torch.no_grad()
    def _negatives(
        self, videos: Tensor, sentences: Tensor, keys: Tensor, groups: Tensor, uniform: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """The wrong video of each text and the wrong text of each video, (b,) each, and for which there is one, (2, b)."""
        logits = similarity(videos, sentences).T / self.model.temperature  # texts, videos
        if not self._objectives.hard_negatives:
            logits = torch.zeros_like(logits)
        finite = videos.isfinite().flatten(1).all(dim=1) & sentences.isfinite().all(dim=1)
        allowed = ~equal_ids(keys, keys) & (groups[:, None] == groups) & finite
        logits = torch.where(allowed & allowed.T, logits, 0.0)  # what is not finite is drawn by none, and draws any
        video, of_text = hard_negatives(logits, allowed, uniform[:, 0] / LOTS)
        text, of_video = hard_negatives(logits.T, allowed, uniform[:, 1] / LOTS)
        return (video, text), torch.stack((of_text, of_video))

    def _words(self, fused: Tensor, targets: Tensor) -> Tensor:
        """(b,): the sum over the masked words of a text of their cross entropies. Scores are computed for these alone."""
        places = targets != IGNORED
        losses = F.cross_entropy(self.model.predict_words(fused[places]).float(), targets[places], reduction="none")
        return losses.new_zeros(len(targets)).index_add(0, places.nonzero()[:, 0], losses)


def _matched(
    states: Tensor, mask: Tensor, memory: Tensor, video: Tensor, text: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The right pairs, those with a wrong `video` (b,), and those with a wrong `text` (b,)."""
    return [(states, mask, memory), (states, mask, memory[video]), (states[text], mask[text], memory)]


def _matching_losses(logits: Tensor, there: Tensor) -> Tensor:
    """Logits (3 b, 2) of `_matched` -> (b,): a third of the cross entropies; wrong pairs that are not `there` (2, b) have 0."""
    count = there.shape[1]
    right = torch.arange(3 * count, device=logits.device) < count
    losses = F.cross_entropy(logits, right.long(), reduction="none").view(3, count)
    return (losses[0] + torch.where(there, losses[1:], 0.0).sum(dim=0)) / 3


def weighted(losses: Mapping[str, Tensor], objectives: Objectives) -> Tensor:
    """The sum (b,) of the losses of each pair, with their weights."""
    return torch.stack([getattr(objectives, name) * values for name, values in losses.items()]).sum(dim=0)


def freeze_unused(model: VideoText, objectives: Objectives) -> None:
    """Parameters that no loss with a weight reaches need no gradient: processes would wait for it."""
    idle = [] if objectives.words else ["text_encoder.cls."]
    idle += [] if objectives.matching else ["itm_head."]
    if not (objectives.matching or objectives.words):
        config = model.config.text
        bert = "text_encoder.bert." if model.config.words else "text_encoder."
        idle += [f"{bert}encoder.layer.{i}." for i in range(config.fusion_from, config.depth)]
    for name, parameter in model.named_parameters():
        if name.startswith(tuple(idle)) or (name.startswith("vision_encoder.clip_decoder.") and not objectives.align):
            parameter.requires_grad_(False)
