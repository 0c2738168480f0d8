"""The bench of training steps at tiny sizes: which figures it gives and what it does not begin, never how large a time is."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Self

import pytest
import torch
from torch import Tensor

from videomamba.bench import masked, training
from videomamba.bench import model as bench_model
from videomamba.bench.flops import mixer_passes, tokens
from videomamba.bench.masked import bench_masked
from videomamba.bench.measure import Figure
from videomamba.bench.process import MeasurementError
from videomamba.bench.training import GROWTH, KEPT, RECOMPUTED, SKIPPED, STEPS, bench_training, needed_bytes
from videomamba.models.config import VideoMambaConfig
from videomamba.models.masked import MaskedVideoMamba
from videomamba.models.precision import MasterWeights
from videomamba.models.registry import build_config
from videomamba.models.videomamba import VideoMamba

DTYPES = (torch.float32, torch.bfloat16)


def config(**fields: object) -> VideoMambaConfig:
    return build_config("videomamba_micro", {"image_size": 32, "num_classes": 5, "depth": 2, "dim": 16, **fields})


class HereInstead:
    """In place of a process, and the step could go there: 3 MB and 3 s a frame with activations kept, 1 and 1 without."""

    alive = 0

    def __init__(self, build: Callable[[], Callable[[], object]]) -> None:
        settings, _, recomputed = pickle.loads(pickle.dumps(build)).args
        self.peak = 10**6 * settings.num_frames * (1 if recomputed == settings.depth else 3)

    def __enter__(self) -> Self:
        HereInstead.alive += 1
        return self

    def __exit__(self, *_: object) -> None:
        HereInstead.alive -= 1

    def warm_up(self) -> tuple[float, int | None]:
        return 1.0, self.peak

    def seconds(self) -> float:
        assert HereInstead.alive == 2, "both of a length take turns"
        return self.peak / 1e6


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FreshProcess", HereInstead)


def rows(figures: list[Figure], table: str) -> list[dict[str, object]]:
    return [dict(figure.cells) for figure in figures if figure.table == table]


def test_every_length_both_ways_and_how_it_grows(here: None) -> None:
    figures = list(bench_training("micro", config(), DTYPES, runs=2, lengths=(8, 2, 4, 2)))
    assert {figure.table for figure in figures} == {STEPS, GROWTH} and HereInstead.alive == 0
    steps = rows(figures, STEPS)
    assert [(row["dtype"], row["frames"], row["activations"]) for row in steps] == [
        (dtype, frames, activations)
        for dtype in ("fp32", "bf16")
        for frames in (2, 4, 8)
        for activations in (KEPT, RECOMPUTED)
    ]
    for row in steps:
        again = row["activations"] == RECOMPUTED
        assert row["peak MB"] == row["frames"] * (1 if again else 3) and row["runs"] == 2
        assert row["time over kept"] == row["peak over kept"] == pytest.approx(1 / 3 if again else 1)
    for row in rows(figures, GROWTH):
        assert (row["from"], row["to"]) == (2, 8)
        assert row["KB per frame"] == pytest.approx(1000 if row["activations"] == RECOMPUTED else 3000)
        assert (row["memory"], row["time"]) == (pytest.approx(1), pytest.approx(1))


def test_what_does_not_fit_is_not_begun_and_said_so(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = config(depth=24)
    free = needed_bytes(config(depth=24, num_frames=64), torch.float32, RECOMPUTED) + training.PROCESS_BYTES
    monkeypatch.setattr(training, "free_memory", lambda device: int(free))
    monkeypatch.setattr(HereInstead, "seconds", lambda self: 1.0)
    figures = list(bench_training("micro", deep, DTYPES[:1], runs=1, lengths=(2, 64, 128)))
    assert [(row["frames"], row["activations"]) for row in rows(figures, STEPS)] == [
        *((2, KEPT), (2, RECOMPUTED)),
        (64, RECOMPUTED),
    ]
    assert [(row["frames"], row["activations"]) for row in rows(figures, SKIPPED)] == [
        *((64, KEPT), (128, KEPT)),
        (128, RECOMPUTED),
    ]
    assert all(str(row["why"]).startswith("needs about 0.4 GB, 0.4 GB are free") for row in rows(figures, SKIPPED))
    assert [row["activations"] for row in rows(figures, GROWTH)] == [RECOMPUTED]
    alone = next(row for row in rows(figures, STEPS) if row["frames"] == 64)
    assert alone["time over kept"] is alone["peak over kept"] is None


def test_a_process_that_fails_is_said_and_the_others_go_on(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = HereInstead.warm_up

    def killed(self: HereInstead) -> tuple[float, int | None]:
        if self.peak == 24 * 10**6:
            raise MeasurementError("its process was killed, most likely for lack of memory")
        return whole(self)

    monkeypatch.setattr(HereInstead, "warm_up", killed)
    figures = list(bench_training("micro", config(), DTYPES[:1], runs=1, lengths=(8,)))
    assert [row["activations"] for row in rows(figures, STEPS)] == [RECOMPUTED]
    (skipped,) = rows(figures, SKIPPED)
    assert skipped["activations"] == KEPT and "killed" in str(skipped["why"])


def test_half_a_patch_is_no_length(here: None) -> None:
    figures = list(bench_training("micro", config(tubelet_size=2), DTYPES[:1], runs=1, lengths=(1,)))
    assert [row["why"] for row in rows(figures, SKIPPED)] == ["a patch is 2 frames long; take a multiple"] * 2


@pytest.mark.parametrize("recomputed", [0, 2])
def test_the_step_changes_the_weights(recomputed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[VideoMamba] = []
    monkeypatch.setattr(bench_model, "VideoMamba", lambda settings: made.append(VideoMamba(settings)) or made[0])
    step = bench_model.build_training_step(config(num_frames=2), torch.float32, recomputed)
    runs: list[int] = []
    made[0].layers[0].register_forward_pre_hook(lambda *_: runs.append(1))
    before = made[0].layers[1].mixer.in_proj.weight.detach().clone()
    step()
    assert not torch.equal(made[0].layers[1].mixer.in_proj.weight, before)
    assert len(runs) == (2 if recomputed else 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["spatial_first", "spatiotemporal_v2"])
def test_the_estimate_is_what_layers_keep(dtype: torch.dtype, order: str) -> None:
    settings = config(depth=3, dim=192, image_size=64, num_frames=8, scan_order=order)
    model = VideoMamba(settings).train()
    MasterWeights(model, dtype)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}  # alive, so that no memory is used for two

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(torch.randn(1, 3, 8, 64, 64))
    found = sum(tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in weights)
    layers = mixer_passes(settings)
    assert found == pytest.approx(needed_bytes(settings, dtype, KEPT) * layers / (layers + 1), rel=0.15)
    deep = config(depth=24, dim=192, scan_order=order)
    assert needed_bytes(deep, dtype, RECOMPUTED) < 0.5 * needed_bytes(deep, dtype, KEPT)
    assert needed_bytes(settings, dtype, KEPT) > tokens(settings) * layers * 4 * settings.dim


# Masked pretraining


class MaskedHere:
    """In place of a process, and the step could go there: 1 MB and 1 s for each visible patch."""

    def __init__(self, build: Callable[[], Callable[[], object]]) -> None:
        settings, _, ratio = pickle.loads(pickle.dumps(build)).args
        self.peak = 10**6 * len(masked._visible(settings, ratio))

    __enter__, __exit__, warm_up, seconds = (
        *(lambda self: self, lambda self, *_: None),
        *(lambda self: (1.0, self.peak), lambda self: self.peak / 1e6),
    )


def test_a_masked_step_by_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked, "FreshProcess", MaskedHere)
    settings = config(num_frames=2, image_size=160)
    figures = list(bench_masked("micro", settings, torch.float32, runs=2))
    assert {figure.table for figure in figures} == {masked.MASKED}
    found = [dict(figure.cells) for figure in figures]
    assert [(row["masked"], row["tokens"]) for row in found] == [(0, 201), (0.5, 101), (0.8, 41), (0.9, 21)]
    for row in found:
        visible = int(str(row["tokens"])) - 1
        assert (row["frames"], row["runs"], row["peak MB"]) == (2, 2, visible)
        assert row["time over no mask"] == row["peak over no mask"] == pytest.approx(visible / 200)


def test_a_share_that_cannot_be_measured_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks of a single patch; and no memory for all of them."""

    def killed(self: MaskedHere) -> tuple[float, int | None]:
        if self.peak == 40 * 10**6:
            raise MeasurementError("its process was killed, most likely for lack of memory")
        return 1.0, None

    monkeypatch.setattr(masked, "FreshProcess", MaskedHere)
    monkeypatch.setattr(MaskedHere, "warm_up", killed)
    single = [dict(f.cells) for f in bench_masked("micro", config(image_size=16, num_frames=2), DTYPES[0], runs=1)]
    assert [row.get("why", "")[:31] for row in single] == [  # type: ignore[index]
        "",
        *["mask.ratio: 0.5 of 1 patch mask", "mask.ratio: 0.8 of 1 patch mask", "mask.ratio: 0.9 of 1 patch mask"],
    ]
    figures = list(bench_masked("micro", config(image_size=32, num_frames=10), DTYPES[0], runs=1))
    assert rows(figures, masked.SKIPPED)[0]["masked"] == 0.0
    assert [row["masked"] for row in rows(figures, masked.MASKED)] == [0.5, 0.8, 0.9]
    assert {row["time over no mask"] for row in rows(figures, masked.MASKED)} == {None}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_masked_step_changes_the_weights(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the student, whose blocks read the visible tokens alone."""
    made: list[MaskedVideoMamba] = []

    def make(settings: VideoMambaConfig, **named: int) -> MaskedVideoMamba:
        made.append(MaskedVideoMamba(settings, **named))
        return made[0]

    monkeypatch.setattr(masked, "MaskedVideoMamba", make)
    step = masked.build_masked_step(config(num_frames=2, image_size=64), dtype, 0.8)
    lengths: list[int] = []
    made[0].layers[0].register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    before = {name: value.clone() for name, value in made[0].state_dict().items()}
    step()
    assert lengths == [1 + 2 * (16 - 12)]
    changed = {name for name, value in made[0].state_dict().items() if not torch.equal(value, before[name])}
    assert {"layers.1.mixer.out_proj.weight", "clip_decoder.0.head.weight", "patch_embed.proj.weight"} <= changed


@pytest.mark.slow
def test_less_memory_in_real_processes() -> None:
    figures = list(bench_training("micro", config(depth=4, dim=64), DTYPES[:1], runs=1, lengths=(64, 128)))
    peaks = {(row["frames"], row["activations"]): float(str(row["peak MB"])) for row in rows(figures, STEPS)}
    assert len(peaks) == 4 and not rows(figures, SKIPPED)
    for frames in (64, 128):
        assert peaks[frames, RECOMPUTED] < peaks[frames, KEPT]
