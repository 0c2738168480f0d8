"""The four losses of a pair against plain formulas, one pair at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.data.text.word_masks import IGNORED
from videomamba.models.config import VideoMambaConfig
from videomamba.models.text import TextConfig
from videomamba.models.video_text import VideoText, VideoTextConfig, similarity
from videomamba.recipes.text.config import Objectives
from videomamba.recipes.text.objectives import PairLosses, weighted
from videomamba.recipes.text.pairs import LOTS
from videomamba.training.contrastive import contrastive_losses, hard_negatives
from videomamba.training.losses import alignment_loss

PAIRS, WORDS = 6, 40
LENGTHS = (5, 7, 4, 7, 6, 3)


def network(*, dim: int = 16, teacher_dim: int = 8, vocabulary: int = WORDS) -> VideoText:
    torch.manual_seed(0)
    video = VideoMambaConfig(depth=2, dim=16, num_frames=2, image_size=(32, 32), num_classes=0, init="fan_in")
    text = TextConfig(vocab_size=vocabulary, dim=dim, depth=3, heads=2, hidden_dim=32, fusion_from=2, dropout=0.0)
    return VideoText(VideoTextConfig(video=video, text=text, embed_dim=8, teacher_dim=teacher_dim))


def pairs(count: int = PAIRS, *, frames: int = 2, vocabulary: int = WORDS, **changes: Any) -> dict[str, Any]:
    """Pairs 0 and 3 show one medium; texts have several lengths."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, vocabulary, (count, 7), generator=generator)
    mask = torch.arange(7) < torch.tensor([LENGTHS[i % len(LENGTHS)] for i in range(count)])[:, None]
    chosen = mask & (torch.rand(count, 7, generator=generator) < 0.5)
    chosen[:, 1] = True
    visible = torch.stack([torch.arange(4 * frames)[i % 2 :: 2] for i in range(count)])
    media = torch.tensor([[0 if i == 3 else i] for i in range(count)])
    return {
        "video": torch.randn(count, 3, frames, 32, 32, generator=generator),
        "visible": visible,
        "targets": torch.randn(1, count, 1 + visible.shape[1], 8, generator=generator),
        "ids": ids,
        "mask": mask,
        "masked_ids": torch.where(chosen, 4, ids),
        "word_targets": torch.where(chosen, ids, IGNORED),
        "keys": media,
        "groups": torch.zeros(count, dtype=torch.int64),
        "uniform": torch.randint(LOTS, (count, 2), generator=generator),
        "sizes": (count,),
        "rank": 0,
        "word_scale": count / int(chosen.sum()),
        **changes,
    }


def objectives(**changes: Any) -> Objectives:
    return Objectives(**{"align": 1.0, **changes})


@pytest.fixture(scope="module")
def model() -> VideoText:
    return network().eval()


def embedded(model: VideoText, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vectors of videos and texts, states of the texts, tokens of the videos."""
    features = model.encode_video(batch["video"], batch["visible"])
    states = model.encode_text(batch["ids"], batch["mask"])
    return model.embed_videos(features.pooled), model.embed_texts(states), states, features.memory


@torch.no_grad()
def test_every_loss_is_its_formula(model: VideoText) -> None:
    batch = pairs()
    found = PairLosses(model, objectives())(**batch)
    assert {name: losses.shape for name, losses in found.items()} == dict.fromkeys(
        ("contrastive", "matching", "words", "align"), (PAIRS,)
    )
    videos, texts, states, memory = embedded(model, batch)
    assert torch.allclose(found["contrastive"], contrastive_losses(videos, texts, batch["keys"], model.temperature))

    logits = similarity(videos, texts).T / 0.07
    allowed = batch["keys"] != batch["keys"].T
    of_text, _ = hard_negatives(logits, allowed, batch["uniform"][:, 0] / LOTS)
    of_video, _ = hard_negatives(logits.T, allowed, batch["uniform"][:, 1] / LOTS)
    masks = batch["mask"]
    for i in range(PAIRS):
        losses = []
        for video, text, right in ((i, i, 1), (int(of_text[i]), i, 0), (i, int(of_video[i]), 0)):
            fused = model.fuse(states[text : text + 1], masks[text : text + 1], memory[video : video + 1])
            losses.append(float(F.cross_entropy(model.match(fused)[0], torch.tensor(right))))
        assert float(found["matching"][i]) == pytest.approx(sum(losses) / 3, abs=1e-5)

    total, count = 0.0, 0
    for i in range(PAIRS):
        fused = model.fuse(
            model.encode_text(batch["masked_ids"][i : i + 1], masks[i : i + 1]), masks[i : i + 1], memory[i : i + 1]
        )
        for place in (batch["word_targets"][i] != IGNORED).nonzero().flatten().tolist():
            scores = model.predict_words(fused)[0, place]
            total += float(F.cross_entropy(scores, batch["ids"][i, place]))
            count += 1
    assert float(found["words"].mean()) == pytest.approx(total / count, abs=1e-5)  # the mean over masked words

    aligned = model.encode_video(batch["video"], batch["visible"]).aligned
    assert aligned is not None and torch.equal(found["align"], alignment_loss(aligned, batch["targets"]))

    weights = Objectives(contrastive=0.5, matching=2.0, words=0.25, align=3.0)
    expected = 0.5 * found["contrastive"] + 2 * found["matching"] + 0.25 * found["words"] + 3 * found["align"]
    assert torch.allclose(weighted(found, weights), expected)


@torch.no_grad()
def test_at_the_start_the_losses_are_those_of_guessing() -> None:
    """Spec 2.6: alignment 2, contrastive ln N, matching 0.60 to 0.70, words ln of the vocabulary."""
    model = network(dim=64, vocabulary=30522).eval()
    model.temp.fill_(0.5)  # random features are not alike: at 0.07 their products differ too much
    found = PairLosses(model, objectives())(**pairs(32, vocabulary=30522))
    means = {name: float(losses.mean()) for name, losses in found.items()}
    assert means["align"] == pytest.approx(2.0, abs=0.1)
    assert means["contrastive"] == pytest.approx(math.log(32), rel=0.1)
    assert 0.6 < means["matching"] < 0.72
    assert 10.2 < means["words"] < 10.5


@torch.no_grad()
def test_hard_negatives_never_show_the_same_medium_nor_leave_their_group(model: VideoText) -> None:
    losses = PairLosses(model, objectives())
    generator = torch.Generator().manual_seed(5)
    for hard in (True, False):
        losses._objectives = objectives(hard_negatives=hard)
        for _ in range(20):
            count = int(torch.randint(1, 9, (), generator=generator))
            vectors = F.normalize(torch.randn(2, count, 4, generator=generator), dim=-1)
            keys = torch.randint(3, (count, 2), generator=generator)
            groups = torch.randint(2, (count,), generator=generator)
            uniform = torch.randint(LOTS, (count, 2), generator=generator)
            (video, text), there = losses._negatives(vectors[0][:, None], vectors[1], keys, groups, uniform)
            for drawn, exists in ((video, there[0]), (text, there[1])):
                for i in range(count):
                    others = [j for j in range(count) if groups[i] == groups[j] and bool((keys[i] != keys[j]).all())]
                    assert bool(exists[i]) == bool(others) and (not others or int(drawn[i]) in others)


@torch.no_grad()
def test_a_pair_without_a_wrong_one_has_no_loss_from_it(model: VideoText) -> None:
    """All pairs show one medium, or one pair is alone: matching is a third of the loss of the right pair."""
    losses = PairLosses(model, objectives())
    for batch in (pairs(keys=torch.zeros(PAIRS, 1, dtype=torch.int64)), pairs(1), pairs(groups=torch.arange(PAIRS))):
        _, _, states, memory = embedded(model, batch)
        logits = model.match(model.fuse(states, batch["mask"], memory))
        right = F.cross_entropy(logits, torch.ones(len(logits), dtype=torch.int64), reduction="none")
        assert torch.allclose(losses(**batch)["matching"], right / 3, atol=1e-6)


@torch.no_grad()
def test_a_clip_that_is_not_finite_spoils_no_other_pair(model: VideoText) -> None:
    batch = pairs()
    batch["video"][1] = torch.nan
    for name, losses in PairLosses(model, objectives())(**batch).items():
        assert losses.isfinite().tolist() == [True, False, True, True, True, True], name


def test_pictures_and_substitutes_give_every_parameter_a_gradient(model: VideoText) -> None:
    """Processes wait for the gradient of each: also in a step of pictures, and where every video failed."""
    losses = PairLosses(network(), objectives())
    pictures = pairs(frames=1)
    substitute = pairs(1, sizes=(0,), word_scale=0.0)
    for batch in (pairs(), pictures, substitute):
        losses.zero_grad()
        found = losses(**batch)
        weighted(found, objectives()).sum().backward()
        assert [name for name, parameter in losses.named_parameters() if parameter.grad is None] == []
    assert [part.tolist() for part in found.values()] == [[0.0]] * 4
    assert all(not parameter.grad.any() for parameter in losses.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("left_out", [("words",), ("matching",), ("words", "matching"), ("align",)], ids="+".join)
def test_parameters_that_no_loss_reaches_are_frozen(left_out: tuple[str, ...]) -> None:
    settings = objectives(**dict.fromkeys(left_out, 0.0))
    losses, batch = PairLosses(network(), settings), pairs()
    if "words" in left_out:
        batch |= {"masked_ids": None, "word_targets": None}
    found = losses(**batch)
    assert found.keys() == {"contrastive", "matching", "words", "align"} - set(left_out)
    weighted(found, settings).sum().backward()
    trained = {name for name, parameter in losses.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in losses.named_parameters() if parameter.grad is not None}
    assert len(trained) < len(list(losses.parameters()))


def test_the_temperature_stays_in_its_range() -> None:
    model = network()
    losses, batch = PairLosses(model, objectives()), pairs()
    for value, expected in ((7.0, 0.5), (-1.0, 0.001), (0.1, 0.1)):
        with torch.no_grad():
            model.temp.fill_(value)
        losses(**batch)
        assert model.temp.item() == pytest.approx(expected)


@torch.no_grad()
def test_a_text_is_compared_with_frames_or_with_the_clip(model: VideoText) -> None:
    batch = pairs()
    frames = PairLosses(model, objectives())(**batch)["contrastive"]
    clip = PairLosses(model, objectives(per_frame=False))(**batch)["contrastive"]
    pooled = model.encode_video(batch["video"], batch["visible"], per_frame=False).pooled
    assert pooled.shape[1] == 1 and not torch.allclose(frames, clip)
    texts = embedded(model, batch)[1]
    assert torch.allclose(clip, contrastive_losses(model.embed_videos(pooled), texts, batch["keys"], model.temperature))
