"""Questions about videos: how answers are scored and ranked, and which weights a video-text model gives."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.models.video_texts import WORDS, build_video_text, clips, disturbed, text_config, texts, video_config
from videomamba.models.video_questions import VideoQuestions, VideoQuestionsConfig, is_new

CLS, SEP, PAD = 1, 2, 0


def network(seed: int = 0) -> VideoQuestions:
    torch.manual_seed(seed)
    made = VideoQuestions(VideoQuestionsConfig(video=video_config(), text=text_config(depth=4)))
    disturbed(made, seed)
    with torch.no_grad():
        made.text_decoder.cls["predictions"].bias.normal_()
    return made.eval()


def answers(*words: tuple[int, ...]) -> SimpleNamespace:
    rows = [(CLS, *each, SEP) for each in words]
    ids = torch.tensor([row + (PAD,) * (max(map(len, rows)) - len(row)) for row in rows])
    return SimpleNamespace(ids=ids, mask=ids != PAD)


ANSWERS = answers((5,), (6, 7), (5, 8), (9, 10, 11), (6,), (12,))


def questions(model: VideoQuestions, count: int = 2) -> tuple[Tensor, Tensor]:
    ids, mask = texts((7, 4, 2)[:count])
    with torch.no_grad():
        return model.encode_questions(clips(count), ids, mask), mask


@torch.no_grad()
def word_by_word(model: VideoQuestions, states: Tensor, mask: Tensor, answer: list[int]) -> list[float]:
    """The log probability of each token of one answer after the first, from prefixes without padding."""
    decoder, found = model.text_decoder, []
    for end in range(1, len(answer)):
        ids = torch.tensor([answer[:end]])
        real = torch.ones_like(ids, dtype=torch.bool)
        seen = decoder.fuse(decoder.encode(ids, real), real, states, mask, causal=True)
        found.append(float(decoder.words(seen)[0, -1].log_softmax(dim=-1)[answer[end]]))
    return found


@torch.no_grad()
def test_the_loss_of_an_answer_is_that_of_its_words_one_by_one() -> None:
    model = network()
    states, mask = questions(model)
    for row in range(2):
        one, real = states[row : row + 1], mask[row : row + 1]
        expected = [
            -sum(word_by_word(model, one, real, ids[ids != PAD].tolist())) for ids in ANSWERS.ids
        ]  # [SEP] is part of each
        found = model.answer_losses(one, real, ANSWERS.ids, ANSWERS.mask)
        assert found.tolist() == pytest.approx(expected, rel=1e-5)
        repeated = model.answer_losses(one.repeat(6, 1, 1), real.repeat(6, 1), ANSWERS.ids, ANSWERS.mask)
        torch.testing.assert_close(repeated, found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
@torch.no_grad()
def test_answers_are_ranked_by_their_probability_among_those_that_begin_well(legacy: bool) -> None:
    model = network()
    states, mask = questions(model, 3)
    each = [
        [word_by_word(model, states[i : i + 1], mask[i : i + 1], ids[ids != PAD].tolist()) for ids in ANSWERS.ids]
        for i in range(3)
    ]
    for k in (1, 3, 6, 128):
        found = model.rank(states, mask, ANSWERS, k, legacy=legacy)
        assert found.candidates.shape == found.scores.shape == (3, min(k, 6))
        assert torch.equal(found.best, found.candidates[:, 0])
        for row, words in enumerate(each):
            begins = sorted(range(6), key=lambda i: -round(words[i][0], 4))[:k]  # of equal ones the first
            score = {i: sum(words[i]) + (words[i][0] if legacy else 0) for i in begins}
            assert found.candidates[row].tolist() == sorted(begins, key=lambda i: -score[i])
            assert found.scores[row].tolist() == pytest.approx(sorted(score.values(), reverse=True), rel=1e-4)


@torch.no_grad()
def test_a_question_is_ranked_the_same_among_others() -> None:
    model = network()
    states, mask = questions(model, 3)
    together = model.rank(states, mask, ANSWERS, 4)
    for row in range(3):
        alone = model.rank(states[row : row + 1], mask[row : row + 1], ANSWERS, 4)
        assert torch.equal(alone.candidates[0], together.candidates[row])
        assert torch.equal(alone.scores[0], together.scores[row])
    assert model.rank(states[:0], mask[:0], ANSWERS, 4).candidates.shape == (0, 4)


@torch.no_grad()
def test_of_equal_answers_the_first_wins() -> None:
    model = network()
    states, mask = questions(model)
    found = model.rank(states, mask, answers((5,), (5,), (5,)), 2)
    assert found.candidates.tolist() == [[0, 1], [0, 1]]


@torch.no_grad()
def test_video_and_question_are_read() -> None:
    model, (ids, mask) = network(), texts((7, 4))
    states = model.encode_questions(clips(), ids, mask)
    assert states.shape == (2, 7, 24)
    assert not torch.allclose(model.encode_questions(clips(seed=9), ids, mask)[mask], states[mask])
    tokens = model.vision_encoder.tokens(clips())
    text = model.text_encoder
    torch.testing.assert_close(text.fuse(text.encode(ids, mask), mask, tokens), states)
    assert tokens.shape == (2, 17, 32)  # with the class token
    for frames in (1, 6):
        assert model.encode_questions(clips(frames=frames), ids, mask).shape == (2, 7, 24)


def test_every_weight_learns_also_when_activations_are_computed_again() -> None:
    model, (ids, mask) = network().train(), texts((7, 4))
    gradients = []
    for blocks in (0, 2):
        model.recompute_activations(blocks, text=bool(blocks))
        model.zero_grad()
        states = model.encode_questions(clips(), ids, mask)
        rows = torch.tensor([0, 0, 1, 1, 1, 0])
        model.answer_losses(states[rows], mask[rows], ANSWERS.ids, ANSWERS.mask).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert set(gradients[0]) == set(dict(model.named_parameters()))
    still = {name for name, gradient in gradients[0].items() if not gradient.any()}
    assert all(
        name.endswith("key.bias") for name in still
    )  # a constant added to all scores of a softmax changes nothing
    assert all(torch.equal(gradients[1][name], gradient) for name, gradient in gradients[0].items())


def test_a_video_text_model_starts_it() -> None:
    source = build_video_text(teacher_dim=12)
    torch.manual_seed(0)
    model = VideoQuestions.from_video_text(source)
    given, taken = source.state_dict(), model.state_dict()
    new = set()
    for name, value in taken.items():
        if name.startswith("text_encoder."):
            origin = name.replace("text_encoder.", "text_encoder.bert.", 1)
        elif name.startswith("text_decoder.bert.encoder.layer.0."):  # layer 2 is the one with cross-attention
            origin = name.replace("text_decoder.bert.encoder.layer.0.", "text_encoder.bert.encoder.layer.2.", 1)
        else:
            origin = name.replace("text_decoder.", "text_encoder.", 1)
        if is_new(name):
            new.add(name)
            assert value.eq(0).all() if name.endswith("bias") else 0.01 < value.std() < 0.03
        else:
            assert torch.equal(value, given[origin]), name
    place = "text_decoder.bert.encoder.layer.0.crossattention.self."
    assert new == {f"{place}{part}.{kind}" for part in ("key", "value") for kind in ("weight", "bias")}
    assert taken[f"{place}key.weight"].shape == (24, 24)
    with torch.no_grad():
        source.temp.fill_(0.5)
        source.vision_proj.weight.fill_(0)
        source.vision_encoder.cls_token.fill_(7)
    assert not model.vision_encoder.cls_token.eq(7).any()  # a copy
    torch.manual_seed(0)
    assert torch.equal(
        VideoQuestions.from_video_text(source).state_dict()[f"{place}key.weight"], taken[f"{place}key.weight"]
    )


@torch.no_grad()
def test_answers_that_cannot_be_ranked_are_refused() -> None:
    model = network()
    states, mask = questions(model)
    for bad in (answers(), SimpleNamespace(ids=torch.ones(2, 1, dtype=torch.int64), mask=torch.ones(2, 1) > 0)):
        with pytest.raises(ValueError, match="two tokens or more"):
            model.rank(states, mask, bad)
    with pytest.raises(ValueError, match="k=0"):
        model.rank(states, mask, ANSWERS, 0)
    ids = ANSWERS.ids.clone()
    ids[0, 0] = WORDS - 1
    with pytest.raises(ValueError, match="begin with the same token"):
        model.rank(states, mask, SimpleNamespace(ids=ids, mask=ANSWERS.mask))
