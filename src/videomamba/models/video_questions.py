"""Questions about videos: an encoder of questions that reads the video, and a decoder that writes answers.

Source: ALBEF, arXiv 2107.07651, section 3.4 ("VQA"): answers are ranked by their probability under the decoder.

Shapes: b questions, l tokens of a question, n candidate answers of a tokens, k of them compared completely, d width of the text
towers, t frames.
"""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple, Protocol, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from videomamba.models.config import VideoMambaConfig
from videomamba.models.init import init_text, undrawn
from videomamba.models.text import TextConfig, TextTower
from videomamba.models.video_text import VideoText
from videomamba.models.video_tower import VideoTower

_NEW = re.compile(r"text_decoder\.bert\.encoder\.layer\.\d+\.crossattention\.self\.(key|value)\.(weight|bias)")


class VideoQuestionsConfig(BaseModel):
    """Video tower, encoder of questions, and decoder of answers.

    `text` is the encoder. The decoder has its width and its vocabulary, and as many layers as the encoder has from
    `fusion_from` on, all with cross-attention.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: VideoMambaConfig
    text: TextConfig = Field(default_factory=TextConfig)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.video.num_classes or self.video.num_registers:
            raise ValueError("video: num_classes and num_registers must be 0")
        if self.text.fusion_from == self.text.depth:
            raise ValueError("text: fusion_from must be less than depth, or the question does not read the video")
        return self

    @property
    def decoder(self) -> TextConfig:
        """That of the decoder."""
        return self.text.model_copy(update={"depth": self.text.depth - self.text.fusion_from, "fusion_from": 0})


class Candidates(Protocol):
    """Answers to choose from: `ids` (n, a) int64 from [CLS] to [SEP], then padding; `mask` (n, a) bool, True for real ones."""

    @property
    def ids(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor: ...


class Ranking(NamedTuple):
    """For each question the compared candidates (b, k), best first, and their scores (b, k): log probabilities, fp32."""

    candidates: Tensor
    scores: Tensor

    @property
    def best(self) -> Tensor:
        """(b,) int64."""
        return self.candidates[:, 0]


class VideoQuestions(nn.Module):
    """A video tower without pooled vectors, a text tower for questions, and one that decodes answers.

    The state dict has the original's prefixes: `vision_encoder`, `text_encoder` (without a head for words), `text_decoder`.
    """

    def __init__(self, config: VideoQuestionsConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_encoder = VideoTower(config.video, pool=None)
        self.text_encoder = TextTower(config.text, memory_dim=config.video.dim, words=False)
        self.text_decoder = TextTower(config.decoder, memory_dim=config.text.dim)

    @classmethod
    def without_weights(cls, config: VideoQuestionsConfig) -> Self:
        """See `VideoMamba.without_weights`."""
        return undrawn(partial(cls, config))

    @classmethod
    def from_video_text(cls, model: VideoText) -> Self:
        """A network that starts with copies of the weights of `model`.

        The decoder takes the layers with cross-attention, the embeddings and the head for words. The keys and values of its
        cross-attention, which read something else, are drawn from PyTorch's global generator. Raises ValueError for a model
        without a head for words.
        """
        if not model.config.words:
            raise ValueError("the model has no head for words, which the decoder of answers starts with")
        made = cls.without_weights(VideoQuestionsConfig(video=model.config.video, text=model.config.text))
        init_text(made.text_decoder)  # what is not replaced stays so
        state = questions_weights(model.state_dict(), fusion_from=model.config.text.fusion_from)
        made.load_state_dict({name: value for name, value in made.state_dict().items() if is_new(name)} | state)
        return made.to(model.temp.device)

    def forward(
        self, video: Tensor, ids: Tensor, mask: Tensor, answer_ids: Tensor, answer_mask: Tensor, asked: Tensor
    ) -> Tensor:
        """-log p of each answer (n, a) to the question asked[i], an index into the b clips and questions -> (n,) fp32.

        For training, where wrappers of several processes see nothing but calls of `forward`.
        """
        states = self.encode_questions(video, ids, mask)
        return self.answer_losses(states[asked], mask[asked], answer_ids, answer_mask)

    def encode_video(self, video: Tensor) -> Tensor:
        """(b, 3, t, h, w) normalised -> memory (b, 1 + m, c) fp32: the class token and the patches after the final norm."""
        return self.vision_encoder.tokens(video)

    def read_questions(self, memory: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Memory of `encode_video`, a row for each question (b, l) or one for all -> states (b, l, d) fp32 of all layers."""
        return self.text_encoder.fuse(self.text_encoder.encode(ids, mask), mask, memory)

    def encode_questions(self, video: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Clips (b, 3, t, h, w), one for each question (b, l) -> states (b, l, d) fp32 of all layers."""
        return self.read_questions(self.encode_video(video), ids, mask)

    def answer_losses(self, states: Tensor, mask: Tensor, answer_ids: Tensor, answer_mask: Tensor) -> Tensor:
        """-log p of each answer (b, a), the sum over its tokens after the first, given its question -> (b,) fp32.

        states (b or 1, l, d), mask (b or 1, l) are those of the questions, repeated for several answers to one; a single
        question may stand for all. Answers go from [CLS] to [SEP], which counts.
        """
        scores = self._next_words(states, mask, answer_ids[:, :-1], answer_mask[:, :-1])
        losses = F.cross_entropy(scores.transpose(1, 2), answer_ids[:, 1:], reduction="none")
        return (losses * answer_mask[:, 1:]).sum(dim=1)

    @torch.no_grad()
    def rank(
        self, states: Tensor, mask: Tensor, candidates: Candidates, k: int = 128, *, legacy: bool = False
    ) -> Ranking:
        """Ranks the candidates for each question, states (b, l, d) and mask (b, l).

        First the k candidates (all, if there are fewer) whose first word is most probable are found, then these are compared by
        the log probability of the complete answer. Of equal ones the first in the list wins. `legacy` counts the first word
        twice, as the original does. Call `eval()` before, or dropout takes part.
        """
        ids, real = candidates.ids, candidates.mask
        if k < 1 or ids.ndim != 2 or ids.shape[0] < 1 or ids.shape[1] < 2:
            raise ValueError(f"ranking needs k >= 1, and answers of two tokens or more; got k={k}, {tuple(ids.shape)}")
        begin, one = ids[:1, :1], real[:1, :1]
        if not (ids[:, 0] == begin).all():
            raise ValueError("all answers must begin with the same token, [CLS]")
        chosen, totals = [], []
        # Question by question: a score then has the same bits whichever other questions are in the batch.
        for i in range(len(states)):
            question, known = states[i : i + 1], mask[i : i + 1]
            first = self._next_words(question, known, begin, one)[0, 0].log_softmax(dim=-1)[ids[:, 1]]  # (n,)
            likely = first.sort(descending=True, stable=True).indices[:k].sort().values
            total = -self.answer_losses(question, known, ids[likely], real[likely])
            total, order = (total + first[likely] if legacy else total).sort(descending=True, stable=True)
            chosen.append(likely[order])
            totals.append(total)
        if not chosen:
            return Ranking(ids.new_empty(0, min(k, len(ids))), states.new_empty(0, min(k, len(ids))))
        return Ranking(torch.stack(chosen), torch.stack(totals))

    def recompute_activations(self, first_blocks: int, *, text: bool = True) -> None:
        """In training the first blocks of the video tower, and the text layers, run again in the backward pass."""
        self.vision_encoder.recompute_activations(first_blocks)
        for tower in (self.text_encoder, self.text_decoder):
            tower.recompute_activations(text)

    def _next_words(self, states: Tensor, mask: Tensor, ids: Tensor, real: Tensor) -> Tensor:
        """Scores (n, a, vocabulary) of the word after each token of the answers (n, a); a token sees only those before it."""
        decoder = self.text_decoder
        return decoder.words(decoder.fuse(decoder.encode(ids, real), real, states, mask, causal=True))


def is_new(name: str) -> bool:
    """Whether a video-text model has nothing that starts this parameter of `VideoQuestions`.

    These are the keys and values of the decoder's cross-attention: there they read video tokens, here states of a question.
    """
    return _NEW.fullmatch(name) is not None


def questions_weights(state: dict[str, Tensor], *, fusion_from: int) -> dict[str, Tensor]:
    """The tensors of a `VideoText`, by the names that they start in a `VideoQuestions`; the others are left out."""
    found: dict[str, Tensor] = {}
    layers = "text_encoder.bert.encoder.layer."
    for name, value in state.items():
        if name.startswith("vision_encoder.") and not name.startswith(
            ("vision_encoder.pool_norm.", "vision_encoder.clip_")
        ):
            found[name] = value
        if name.startswith("text_encoder.bert."):
            found[name.replace("text_encoder.bert.", "text_encoder.", 1)] = value
        if name.startswith(("text_encoder.bert.embeddings.", "text_encoder.cls.")):
            found[name.replace("text_encoder.", "text_decoder.", 1)] = value
        if name.startswith(layers):
            place, _, rest = name.removeprefix(layers).partition(".")
            moved = f"text_decoder.bert.encoder.layer.{int(place) - fusion_from}.{rest}"
            if int(place) >= fusion_from and not is_new(moved):
                found[moved] = value
    return found
