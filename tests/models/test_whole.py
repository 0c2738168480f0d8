"""One pass over a video of any length against the plain forward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videomamba import create_model, load_weights
from videomamba.models import whole as long
from videomamba.models.precision import cast_products
from videomamba.models.videomamba import VideoMamba
from videomamba.models.whole import WholePass, WholeResult
from videomamba.ops import walk
from videomamba.ops.dispatch import use_backend
from videomamba.schema import VideoMambaError

FRAMES, SIDE = 12, 64


def a_model(num_frames: int = FRAMES, **options: object) -> VideoMamba:
    torch.manual_seed(0)
    fixed = {"num_classes": 10, "depth": 5, "dim": 48, "init": "fan_in", "image_size": SIDE}
    return create_model("videomamba_micro", num_frames=num_frames, **{**fixed, **options}).eval()


def a_video(frames: int = FRAMES) -> torch.Tensor:
    return torch.randn(3, frames, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def passed(model: VideoMamba, video: torch.Tensor, *, lot: int = 4, **options: object) -> WholeResult:
    through = WholePass(model, video.shape[1], **options)
    for first in range(0, video.shape[1], lot):
        through.push(video[:, first : first + lot])
    return through.run()


def assert_same(found: WholeResult, model: VideoMamba, video: torch.Tensor, tolerance: float = 1e-5) -> None:
    with torch.no_grad():
        logits, features, tokens = (
            model(video[None]),
            model.forward_features(video[None]),
            model.forward_tokens(video[None]),
        )
    frames = tokens[0, 1:].view(model.config.grid[0], -1, model.config.dim).mean(dim=1)
    for result, expected in ((found.logits, logits[0]), (found.features, features[0]), (found.frames, frames)):
        assert (result - expected).abs().max() < tolerance * expected.abs().max()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "BLOCK_BYTES", 40 * 96 * 4)
    monkeypatch.setattr(long, "REORDER_BYTES", 10_000)
    monkeypatch.setattr(long, "READ_TOKENS", 50)


@pytest.mark.parametrize("keep", ["direction", "states"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scan_order": "temporal_first"},
        {"scan_order": "spatiotemporal_v1"},
        {"scan_order": "spatiotemporal_v1", "num_registers": 5},
        {"num_registers": 5},
        {"pool": "mean", "tubelet_size": 2},
        {"merge": "mean", "discretization": "zoh", "depth": 2},
        {"num_classes": 0},
    ],
    ids=str,
)
def test_one_pass_is_the_plain_forward(keep: long.Keep, options: dict[str, object]) -> None:
    model, video = a_model(**options), a_video()
    assert_same(passed(model, video, keep=keep), model, video)


@pytest.mark.parametrize("lot", [1, 5, 12])
def test_frames_come_in_lots_of_any_size(lot: int) -> None:
    model, video = a_model(), a_video()
    assert_same(passed(model, video, lot=lot), model, video)


def test_another_backend_gives_the_same() -> None:
    model, video = a_model(), a_video()
    with use_backend("chunked"):
        found = passed(model, video)
    assert_same(found, model, video)


@pytest.mark.parametrize("count", [1, 4, 30])
def test_temporal_positions_of_another_length_are_those_that_loading_makes(count: int) -> None:
    model, video = a_model(), a_video(count)
    other = a_model(count)
    load_weights(other, model.state_dict())
    found = WholePass(model, count)
    found.push(video)
    assert f"stretched to {count}" in found.note
    result = found.run()
    with torch.no_grad():
        expected = other(video[None])[0]
    if count > 1:  # a model of one frame has no temporal positions
        assert (result.logits - expected).abs().max() < 1e-5 * expected.abs().max()


def test_an_image_model_looks_at_a_video() -> None:
    model = a_model(1)
    found = passed(model, a_video())
    assert found.frames.shape == (FRAMES, 48)
    assert WholePass(model, 3).note == "the network knows no temporal positions"


def test_bf16_is_near() -> None:
    model, video = a_model(), a_video()
    with torch.no_grad():
        expected = model(video[None])[0]
    for keep in ("direction", "states"):
        found = passed(model, video, stream=torch.bfloat16, keep=keep).logits
        assert (found - expected).abs().max() < 0.03 * expected.abs().max()
    cast_products(model, torch.bfloat16)
    with torch.no_grad():
        plain = model(video[None])[0]
    found = passed(model, video).logits
    assert (found - expected).norm() < 1.5 * (plain - expected).norm()


@pytest.mark.parametrize("stream", [torch.float32, torch.bfloat16])
def test_in_a_file_nothing_changes_and_nothing_is_left(tmp_path: Path, stream: torch.dtype) -> None:
    model, video = a_model(), a_video()
    through = WholePass(model, FRAMES, stream=stream, folder=tmp_path)
    assert not list(tmp_path.iterdir())  # it has lost its name already
    through.push(video)
    found, expected = through.run(), passed(model, video, stream=stream)
    assert torch.equal(found.logits, expected.logits) and torch.equal(found.frames, expected.frames)


def test_a_folder_that_takes_no_file_is_named() -> None:
    with pytest.raises(VideoMambaError, match="nowhere"):
        WholePass(a_model(), FRAMES, folder=Path("nowhere"))


def test_progress_counts_every_block_of_every_pass() -> None:
    told: list[tuple[int, int]] = []
    through = WholePass(a_model(), FRAMES)
    through.push(a_video())
    through.run(lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(1, told[0][1] + 1))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="spatiotemporal_v2"):
        WholePass(a_model(scan_order="spatiotemporal_v2"), 8)
    with pytest.raises(ValueError, match="tubelet_size 2"):
        WholePass(a_model(tubelet_size=2), 7)
    for option, value in (("stream", torch.float16), ("keep", "everything")):
        with pytest.raises(ValueError, match=option):
            WholePass(a_model(), 8, **{option: value})
    through = WholePass(a_model(), 8)
    for frames in (torch.zeros(3, 9, SIDE, SIDE), torch.zeros(3, 0, SIDE, SIDE), torch.zeros(3, 4, SIDE, 32)):
        with pytest.raises(ValueError, match="frames"):
            through.push(frames)
    with pytest.raises(ValueError, match="0 of 8"):
        through.run()
    through.push(a_video(8))
    through.run()
    with pytest.raises(ValueError, match="once"):
        through.run()


def test_more_than_the_machine_has_is_refused_before_it_is_asked_for() -> None:
    with pytest.raises(MemoryError, match="GB"):
        WholePass(a_model(), 10**10)
