"""What `videomamba bench whole` says, on a small network."""

from __future__ import annotations

import pytest
import torch

from videomamba.bench import whole
from videomamba.bench.whole import MODES, bench_whole, build_pass
from videomamba.models.config import VideoMambaConfig

CONFIG = VideoMambaConfig(num_classes=4, num_frames=16, image_size=(32, 32), depth=2, dim=32)
TOKENS_OF_A_FRAME = 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_figure(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    def grown(build: object, config: VideoMambaConfig, frames: int, products: torch.dtype, mode: whole.Mode) -> int:
        assert build is build_pass and config.num_frames == 16 and products == dtype
        return 10**6 + frames * TOKENS_OF_A_FRAME * mode.bytes_per_token(config, products)

    monkeypatch.setattr(whole, "peak_memory", grown)
    monkeypatch.setattr(whole, "SAMENESS_FRAMES", 32)
    figures = [figure.cells for figure in bench_whole("small", CONFIG, [dtype], runs=1, lengths=(16, 40))]
    times, memory, sameness = figures[:5], figures[5:-1], figures[-1]
    assert [row["mode"] for row in times] == ["clips of 16", *map(str, MODES)] and times[0]["over the clip"] == 1
    assert all(isinstance(row["ms a frame"], float) and row["ms a frame"] > 0 for row in times)
    assert [row["mode"] for row in memory] == list(map(str, MODES))
    for row in memory:
        assert row["bytes a frame more"] == pytest.approx(row["of which stream and direction"])
    per_token = {"direction": 64 * dtype.itemsize, "states": 0}
    assert [row["of which stream and direction"] for row in memory] == [
        TOKENS_OF_A_FRAME * (32 * stream + per_token[keep]) for keep in per_token for stream in (4, 2)
    ]
    assert 0 <= float(str(sameness["largest difference"])) < 1e-5 * float(str(sameness["largest logit"])) + 1e-7


def test_a_pass_of_the_bench_takes_any_number_of_frames() -> None:
    passed = build_pass(CONFIG, 21, torch.float32, MODES[0])()
    assert passed.frames.shape == (21, 32)
