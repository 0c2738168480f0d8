"""The text tower: transformers' BERT from the same weights, a plain formula of cross-attention, padding, refusals."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.video_texts import TEXT, WORDS, disturbed, text_config, texts
from videomamba.models.text import TextConfig, TextTower

transformers = pytest.importorskip("transformers")

REPEATED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
"""Of transformers: the word embeddings, and `cls.predictions.bias`."""


def bert(kind: str, **options: object) -> nn.Module:
    config = transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=TEXT["dim"],
        num_hidden_layers=TEXT["depth"],
        num_attention_heads=TEXT["heads"],
        intermediate_size=TEXT["hidden_dim"],
        max_position_embeddings=TEXT["max_positions"],
        **options,
    )
    own = {"add_pooling_layer": False} if kind == "BertModel" else {}
    return disturbed(getattr(transformers, kind)(config, **own)).eval()


def tensors_of(reference: nn.Module) -> Mapping[str, Tensor]:
    return {name: value for name, value in reference.state_dict().items() if name not in REPEATED}


def tower(words: bool = True, memory_dim: int = 10, **fields: object) -> TextTower:
    torch.manual_seed(0)
    made = TextTower(text_config(**fields), memory_dim=memory_dim, words=words)
    disturbed(made)
    return made.eval()


@torch.no_grad()
def test_features_are_those_of_transformers() -> None:
    reference, (ids, mask) = bert("BertModel"), texts()
    ours = tower(words=False, fusion_from=TEXT["depth"])
    ours.load_state_dict(tensors_of(reference))
    expected = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(ours.encode(ids, mask)[mask], expected[mask], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_scores_of_words_are_those_of_transformers() -> None:
    reference, (ids, mask) = bert("BertForMaskedLM"), texts()
    ours = tower(fusion_from=TEXT["depth"])
    ours.load_state_dict(tensors_of(reference))
    expected = reference(input_ids=ids, attention_mask=mask.long()).logits
    found = ours.words(ours.encode(ids, mask))
    assert found.shape == (3, 7, WORDS)
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_causal_decoder_with_a_memory_is_that_of_transformers() -> None:
    reference, (ids, mask) = bert("BertLMHeadModel", is_decoder=True, add_cross_attention=True), texts()
    ours = tower(fusion_from=0, memory_dim=TEXT["dim"])
    ours.load_state_dict(tensors_of(reference))
    memory, real = torch.randn(3, 5, TEXT["dim"]), torch.arange(5) < torch.tensor([5, 3, 1])[:, None]
    expected = reference(
        input_ids=ids,
        attention_mask=mask.long(),
        encoder_hidden_states=memory,
        encoder_attention_mask=real.long(),
        use_cache=False,
    ).logits
    states = ours.fuse(ours.encode(ids, mask), mask, memory, real, causal=True)
    torch.testing.assert_close(ours.words(states)[mask], expected[mask], rtol=1e-5, atol=1e-5)


def norm(x: Tensor, weights: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt() * weights.weight + weights.bias


def attended(block: nn.Module, states: Tensor, memory: Tensor, heads: int) -> Tensor:
    """The attention block of one text, head by head: states (l, d), memory (m, c) -> (l, d)."""
    query, key, value = block.self.query(states), block.self.key(memory), block.self.value(memory)
    width = query.shape[1] // heads
    parts = []
    for start in range(0, query.shape[1], width):
        q, k, v = (x[:, start : start + width] for x in (query, key, value))
        parts.append((q @ k.T / math.sqrt(width)).softmax(dim=-1) @ v)
    return norm(states + block.output.dense(torch.cat(parts, dim=1)), block.output.LayerNorm)


@torch.no_grad()
def test_fusion_is_self_attention_then_cross_attention_then_an_mlp() -> None:
    ours, (ids, mask), memory = tower().double(), texts(), torch.randn(3, 6, 10).double()
    states = ours.encode(ids, mask)
    found = ours.fuse(states, mask, memory)
    assert found.shape == states.shape == (3, 7, 24)
    layer = ours.bert["encoder"]["layer"][2]
    for text, length in enumerate(mask.sum(dim=1).tolist()):
        x = states[text, :length]
        x = attended(layer.attention, x, x, 4)
        x = attended(layer.crossattention, x, memory[text], 4)
        hidden = layer.intermediate.dense(x)
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        x = norm(x + layer.output.dense(hidden), layer.output.LayerNorm)
        torch.testing.assert_close(found[text, :length], x, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_padding_changes_no_real_token_and_stays_finite() -> None:
    ours, (ids, mask) = tower(), texts((7, 4, 1))
    memory = torch.randn(1, 6, 10)
    whole = ours.fuse(ours.encode(ids, mask), mask, memory)
    other = ours.fuse(ours.encode(torch.where(mask, ids, 0), mask), mask, memory)
    assert torch.equal(whole[mask], other[mask])
    for text, length in enumerate((7, 4, 1)):
        part, real = ids[text : text + 1, :length], mask[text : text + 1, :length]
        alone = ours.fuse(ours.encode(part, real), real, memory)
        torch.testing.assert_close(whole[text, :length], alone[0], rtol=1e-5, atol=1e-5)
    nothing = torch.zeros_like(mask)
    assert ours.fuse(ours.encode(ids, nothing), nothing, memory).isfinite().all()


@torch.no_grad()
def test_one_memory_of_all_texts_is_that_of_each() -> None:
    ours, (ids, mask), memory = tower(), texts(), torch.randn(1, 6, 10)
    states, real = ours.encode(ids, mask), torch.tensor([[True] * 4 + [False] * 2])
    expected = ours.fuse(states, mask, memory.repeat(3, 1, 1), real.repeat(3, 1))
    torch.testing.assert_close(ours.fuse(states, mask, memory, real), expected, rtol=1e-5, atol=1e-5)
    cut = ours.fuse(states, mask, memory[:, :4])
    torch.testing.assert_close(expected, cut, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_causal_token_sees_only_what_comes_before() -> None:
    ours, (ids, mask), memory = tower(fusion_from=0), texts((7, 7)), torch.randn(2, 6, 10)
    other = ids.clone()
    other[:, 4:] = (ids[:, 4:] + 1) % WORDS
    found, changed = (ours.fuse(ours.encode(x, mask), mask, memory, causal=True) for x in (ids, other))
    torch.testing.assert_close(found[:, :4], changed[:, :4], rtol=1e-5, atol=1e-6)
    assert not torch.isclose(found[:, 4:], changed[:, 4:]).all(dim=-1).any()


@pytest.mark.parametrize("words", [True, False])
def test_every_weight_learns_also_when_activations_are_computed_again(words: bool) -> None:
    ours, (ids, mask), memory = tower(words, dropout=0.1).train(), texts(), torch.randn(3, 6, 10)
    gradients = []
    for recompute in (False, True):
        ours.recompute_activations(recompute)
        ours.zero_grad()
        torch.manual_seed(3)
        states = ours.fuse(ours.encode(ids, mask), mask, memory)
        loss = F.cross_entropy(ours.words(states)[mask], ids[mask]) if words else states[mask][:, 0].sum()
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in ours.named_parameters() if p.grad is not None})
    assert set(gradients[0]) == set(dict(ours.named_parameters()))
    still = {name for name, gradient in gradients[0].items() if not gradient.any()}
    assert all(
        name.endswith("key.bias") for name in still
    )  # a constant added to all scores of a softmax changes nothing
    for name, gradient in gradients[0].items():
        assert torch.equal(gradients[1][name], gradient), name


def test_names_are_those_of_transformers() -> None:
    of_words, of_features = tensors_of(bert("BertForMaskedLM")), tensors_of(bert("BertModel"))
    assert set(tower(True, fusion_from=TEXT["depth"]).state_dict()) == set(of_words)
    assert set(tower(False, fusion_from=TEXT["depth"]).state_dict()) == set(of_features)


def test_it_starts_as_bert_does() -> None:
    torch.manual_seed(0)
    start = TextTower(text_config(), memory_dim=10).state_dict()
    for name, value in start.items():
        if name.endswith("LayerNorm.weight"):
            assert value.eq(1).all()
        elif name.endswith("bias"):
            assert value.eq(0).all()
        else:
            assert value.std().item() == pytest.approx(0.02, rel=0.25) and value.abs().max() < 0.1
    torch.manual_seed(0)
    again = TextTower(text_config(), memory_dim=10).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in start.items())


def test_norms_and_stream_are_fp32_under_autocast() -> None:
    ours, (ids, mask), memory = tower(), texts(), torch.randn(3, 6, 10)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        states = ours.encode(ids, mask)
        fused = ours.fuse(states, mask, memory)
        scores = ours.words(fused)
    assert states.dtype == fused.dtype == scores.dtype == torch.float32
    with torch.no_grad():
        expected = ours.words(ours.fuse(ours.encode(ids, mask), mask, memory))
    assert 0 < (scores - expected)[mask].abs().max() < 0.1 * expected.abs().max()


def test_a_copy_without_weights_takes_those_of_another() -> None:
    ours, (ids, mask) = tower(), texts()
    other = TextTower.without_weights(ours.config, memory_dim=10)
    other.load_state_dict(ours.state_dict())
    assert torch.equal(other.eval().encode(ids, mask), ours.encode(ids, mask))
    assert torch.equal(copy.deepcopy(ours).encode(ids, mask), ours.encode(ids, mask))


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (torch.zeros(2, 17, dtype=torch.int64), torch.ones(2, 17, dtype=torch.bool), "1 to 16 tokens, got 17"),
        (torch.zeros(2, 0, dtype=torch.int64), torch.ones(2, 0, dtype=torch.bool), "1 to 16 tokens, got 0"),
        (torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.bool), r"ids must be \(b, l\) int64"),
        (torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool), r"ids must be \(b, l\) int64"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3), "mask must be .* bool"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.ones(1, 3, dtype=torch.bool), "mask must be .* bool"),
    ],
)
def test_texts_that_do_not_fit_are_refused(ids: Tensor, mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tower().encode(ids, mask)


def test_other_misuse_is_refused() -> None:
    ours, (ids, mask) = tower(words=False), texts()
    states = ours.encode(ids, mask)
    for memory in (torch.randn(2, 6, 10), torch.randn(6, 10), torch.randn(3, 0, 10)):
        with pytest.raises(ValueError, match=r"memory must be \(b, m, c\) or \(1, m, c\) for 3 texts"):
            ours.fuse(states, mask, memory)
    with pytest.raises(ValueError, match="made without words"):
        ours.words(states)
    with pytest.raises(ValueError, match="multiple of heads 5"):
        TextConfig(heads=5)
    with pytest.raises(ValueError, match="at most the depth 12"):
        TextConfig(fusion_from=13)
    with pytest.raises(ValueError, match="layers"):
        TextConfig.model_validate({"layers": 3})
