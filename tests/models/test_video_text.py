"""Video and text in one space: names and numbers of parameters of the original, shapes, precision, gradients."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import pytest
import torch
import torch.nn.functional as F

from tests.models.video_texts import build_video_text, clips, text_config, texts, video_config
from videomamba.models.precision import MasterWeights
from videomamba.models.registry import build_config
from videomamba.models.text import TextConfig
from videomamba.models.video_questions import VideoQuestions, VideoQuestionsConfig
from videomamba.models.video_text import VideoText, VideoTextConfig, similarity

MIDDLE = {"num_classes": 0, "num_frames": 8}

PATTERNS = {
    # The original's state dict, with the shapes of VideoMamba-M and BERT-base, and how many tensors a line stands for.
    r"temp": ((), 1),
    r"vision_proj\.weight": ((512, 576), 1),
    r"text_proj\.weight": ((512, 768), 1),
    r"(vision|text)_proj\.bias": ((512,), 2),
    r"itm_head\.weight": ((2, 768), 1),
    r"itm_head\.bias": ((2,), 1),
    r"vision_encoder\.cls_token": ((1, 1, 576), 1),
    r"vision_encoder\.pos_embed": ((1, 197, 576), 1),
    r"vision_encoder\.temporal_pos_embedding": ((1, 8, 576), 1),
    r"vision_encoder\.patch_embed\.proj\.weight": ((576, 3, 1, 16, 16), 1),
    r"vision_encoder\.patch_embed\.proj\.bias": ((576,), 1),
    r"vision_encoder\.layers\.\d+\.norm\.weight": ((576,), 32),
    r"vision_encoder\.layers\.\d+\.mixer\.in_proj\.weight": ((2304, 576), 32),
    r"vision_encoder\.layers\.\d+\.mixer\.out_proj\.weight": ((576, 1152), 32),
    r"vision_encoder\.layers\.\d+\.mixer\.conv1d(_b)?\.weight": ((1152, 1, 4), 64),
    r"vision_encoder\.layers\.\d+\.mixer\.conv1d(_b)?\.bias": ((1152,), 64),
    r"vision_encoder\.layers\.\d+\.mixer\.x_proj(_b)?\.weight": ((68, 1152), 64),
    r"vision_encoder\.layers\.\d+\.mixer\.dt_proj(_b)?\.weight": ((1152, 36), 64),
    r"vision_encoder\.layers\.\d+\.mixer\.dt_proj(_b)?\.bias": ((1152,), 64),
    r"vision_encoder\.layers\.\d+\.mixer\.A(_b)?_log": ((1152, 16), 64),
    r"vision_encoder\.layers\.\d+\.mixer\.D(_b)?": ((1152,), 64),
    r"vision_encoder\.norm_f\.weight": ((576,), 1),  # `norm` in the original
    r"vision_encoder\.pool_norm\.(weight|bias)": ((576,), 2),
    r"vision_encoder\.clip_decoder\.0\.head\.weight": ((512, 576), 1),
    r"vision_encoder\.clip_decoder\.0\.(head\.bias|norm\.weight|norm\.bias)": ((512,), 3),
    r"text_encoder\.bert\.embeddings\.word_embeddings\.weight": ((30522, 768), 1),
    r"text_encoder\.bert\.embeddings\.position_embeddings\.weight": ((512, 768), 1),
    r"text_encoder\.bert\.embeddings\.token_type_embeddings\.weight": ((2, 768), 1),
    r"text_encoder\.bert\.embeddings\.LayerNorm\.(weight|bias)": ((768,), 2),
    r"text_encoder\.bert\.encoder\.layer\.\d+\.attention\.self\.(query|key|value)\.weight": ((768, 768), 36),
    r"text_encoder\.bert\.encoder\.layer\.\d+\.attention\.self\.(query|key|value)\.bias": ((768,), 36),
    r"text_encoder\.bert\.encoder\.layer\.(9|10|11)\.crossattention\.self\.query\.weight": ((768, 768), 3),
    r"text_encoder\.bert\.encoder\.layer\.(9|10|11)\.crossattention\.self\.(key|value)\.weight": ((768, 576), 6),
    r"text_encoder\.bert\.encoder\.layer\.(9|10|11)\.crossattention\.self\.(query|key|value)\.bias": ((768,), 9),
    r"text_encoder\.bert\.encoder\.layer\.\d+\.(cross)?attention\.output\.dense\.weight": ((768, 768), 15),
    r"text_encoder\.bert\.encoder\.layer\.\d+\.(cross)?attention\.output\.LayerNorm\.weight": ((768,), 15),
    r"text_encoder\.bert\.encoder\.layer\.\d+\.(cross)?attention\.output\.(dense|LayerNorm)\.bias": ((768,), 30),
    r"text_encoder\.bert\.encoder\.layer\.\d+\.intermediate\.dense\.weight": ((3072, 768), 12),
    r"text_encoder\.bert\.encoder\.layer\.\d+\.intermediate\.dense\.bias": ((3072,), 12),
    r"text_encoder\.bert\.encoder\.layer\.\d+\.output\.dense\.weight": ((768, 3072), 12),
    r"text_encoder\.bert\.encoder\.layer\.\d+\.output\.(dense\.bias|LayerNorm\.(weight|bias))": ((768,), 36),
    r"text_encoder\.cls\.predictions\.bias": ((30522,), 1),
    r"text_encoder\.cls\.predictions\.transform\.dense\.weight": ((768, 768), 1),
    r"text_encoder\.cls\.predictions\.transform\.(dense\.bias|LayerNorm\.(weight|bias))": ((768,), 3),
}
# Of the original's 798 tensors without a teacher, 3 are not there: position_ids, and decoder.weight and decoder.bias of
# cls.predictions, which are the word embeddings and cls.predictions.bias again.


@cache
def on_meta(words: bool = True) -> VideoText:
    video = build_config("videomamba_middle", MIDDLE)
    with torch.device("meta"):
        return VideoText(VideoTextConfig(video=video, teacher_dim=512, words=words))


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_state_dict_is_the_originals() -> None:
    counts: Counter[str] = Counter()
    for name, value in on_meta().state_dict().items():
        (pattern,) = (pattern for pattern in PATTERNS if re.fullmatch(pattern, name))
        counts[pattern] += 1
        assert tuple(value.shape) == PATTERNS[pattern][0], name
    assert counts == {pattern: count for pattern, (_, count) in PATTERNS.items()}
    assert counts.total() == 798 - 3


def test_without_words_the_names_are_those_of_the_originals_fine_tuned_models() -> None:
    expected = {
        name.replace(".bert.", ".") for name in on_meta().state_dict() if not name.startswith("text_encoder.cls.")
    }
    assert set(on_meta(words=False).state_dict()) == expected


def test_it_has_as_many_parameters_as_the_original() -> None:
    model = on_meta()
    assert size(model.vision_encoder) == 73_942_656
    assert size(model.vision_encoder.clip_decoder) == 296_448 and size(model.vision_encoder.pool_norm) == 1_152
    assert size(model.text_encoder) == 115_721_274
    assert size(model.text_encoder.bert) == 115_098_624 and size(model.text_encoder.cls) == 622_650
    crossing = [module for name, module in model.text_encoder.named_modules() if name.endswith(".crossattention")]
    assert len(crossing) == 3 and sum(map(size, crossing)) == 6_206_976
    assert (size(model.vision_proj), size(model.text_proj), size(model.itm_head)) == (295_424, 393_728, 1_538)
    assert size(model) == 190_354_621


def test_with_its_teacher_it_has_as_many_parameters_as_the_original() -> None:
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        teacher = transformers.CLIPVisionModelWithProjection(
            transformers.CLIPVisionConfig(patch_size=16, projection_dim=512)
        )
    assert size(teacher) == 86_192_640 and size(on_meta()) + size(teacher) == 276_547_261


@torch.no_grad()
def test_it_compares_videos_and_texts() -> None:
    model, (ids, mask) = build_video_text(teacher_dim=12).eval(), texts()
    features = model.encode_video(clips())
    states = model.encode_text(ids, mask)
    videos, sentences = model.embed_videos(features.pooled), model.embed_texts(states)
    assert (videos.shape, sentences.shape) == ((2, 4, 20), (3, 20))
    for vectors in (videos, sentences):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]))
    found = model(clips(), ids, mask)
    expected = torch.stack([(videos[i] @ sentences.T).mean(dim=0) for i in range(2)])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    fused = model.fuse(states[:2], mask[:2], features.memory)
    assert model.match(fused).shape == (2, 2) and model.predict_words(fused).shape == (2, 7, 40)
    one = model.fuse(states, mask, features.memory[:1])
    torch.testing.assert_close(one[0], fused[0], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_only_the_first_token_of_a_text_is_compared() -> None:
    model = build_video_text()
    states = torch.randn(3, 5, 24)
    other = torch.cat((states[:, :1], torch.randn(3, 4, 24)), dim=1)
    assert torch.equal(model.embed_texts(states), model.embed_texts(other))
    assert torch.equal(model.match(states), model.match(other))


def test_every_weight_learns() -> None:
    """From the losses of pretraining, in a simple form."""
    model, (ids, mask) = build_video_text(teacher_dim=12), texts((7, 4))
    visible = torch.tensor([[0, 3, 5, 6, 9, 10, 12, 13]] * 2)
    memory, pooled, aligned = model.encode_video(clips(), visible)
    states = model.encode_text(ids, mask)
    scores = similarity(model.embed_videos(pooled), model.embed_texts(states)) / model.temperature
    fused = model.fuse(states, mask, memory)
    loss = F.cross_entropy(scores, torch.arange(2)) + F.cross_entropy(model.match(fused), torch.tensor([1, 0]))
    loss = loss + F.cross_entropy(model.predict_words(fused)[mask], ids[mask]) + aligned[..., 0].sum()
    loss.backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert all(
        name.endswith("key.bias") for name in still
    )  # a constant added to all scores of a softmax changes nothing


def test_the_temperature_has_limits_and_a_gradient_outside_of_them() -> None:
    model = build_video_text()
    assert model.temp.shape == () and model.temperature.item() == pytest.approx(0.07)
    for value, used in ((-1.0, 0.001), (0.3, 0.3), (2.0, 0.5)):
        with torch.no_grad():
            model.temp.fill_(value)
        model.temp.grad = None
        model.temperature.backward()
        assert model.temperature.item() == pytest.approx(used) and model.temp.grad == 1


@pytest.mark.parametrize("masters", [False, True])
def test_logits_and_similarities_are_fp32_whatever_the_products_are(masters: bool) -> None:
    model, (ids, mask) = build_video_text().eval(), texts((7, 4))
    with torch.no_grad():
        exact = model.match(model.fuse(model.encode_text(ids, mask), mask, model.encode_video(clips()).memory))
    if masters:
        MasterWeights(model, torch.bfloat16)
        layer = model.text_encoder.bert["encoder"]["layer"][2]
        assert layer.crossattention.self.key.weight.dtype == model.vision_encoder.patch_embed.proj.weight.dtype
        assert (
            layer.output.dense.weight.dtype == torch.bfloat16 and layer.output.LayerNorm.weight.dtype == torch.float32
        )
        assert model.itm_head.weight.dtype == model.vision_proj.weight.dtype == torch.float32
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=not masters):
        features, states = model.encode_video(clips()), model.encode_text(ids, mask)
        videos, sentences = model.embed_videos(features.pooled), model.embed_texts(states)
        found = similarity(videos, sentences)
        fused = model.fuse(states, mask, features.memory)
        logits = model.match(fused)
        assert {x.dtype for x in (videos, sentences, found, logits, model.temperature, model.predict_words(fused))} == {
            torch.float32
        }
    torch.testing.assert_close(found, videos.mean(dim=1) @ sentences.T)
    torch.testing.assert_close(logits, F.linear(fused[:, 0], model.itm_head.weight, model.itm_head.bias))
    assert 0 < (logits - exact).abs().max() < 0.1


def test_activations_are_computed_again_in_both_towers() -> None:
    model, (ids, mask) = build_video_text().train(), texts((7, 4))
    found = []
    for blocks in (0, 2):
        model.recompute_activations(blocks, text=bool(blocks))
        model.zero_grad()
        torch.manual_seed(0)
        model(clips(), ids, mask).sum().backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert all(torch.equal(found[1][name], gradient) for name, gradient in found[0].items())


@torch.no_grad()
def test_a_model_without_drawn_weights_takes_those_of_another() -> None:
    model, (ids, mask) = build_video_text(teacher_dim=12).eval(), texts()
    other = VideoText.without_weights(model.config).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(clips(), ids, mask), model(clips(), ids, mask))
    assert VideoTextConfig.model_validate_json(model.config.model_dump_json()) == model.config


def test_configs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes and num_registers must be 0"):
        VideoTextConfig(video=video_config(num_classes=4))
    with pytest.raises(ValueError, match="teacher"):
        VideoTextConfig.model_validate({"video": video_config(), "teacher": 3})
    with pytest.raises(ValueError, match="fusion_from must be less than depth"):
        VideoQuestionsConfig(video=video_config(), text=text_config(fusion_from=3))
    with pytest.raises(ValueError, match="no head for words"):
        VideoQuestions.from_video_text(build_video_text(words=False))
    with pytest.raises(ValueError, match="made without words"):
        build_video_text(words=False).predict_words(torch.zeros(1, 1, 24))
    assert VideoTextConfig(video=video_config()).text == TextConfig()
