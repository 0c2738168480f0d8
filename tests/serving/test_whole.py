"""A whole video in one pass, from its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videomamba import create_model
from videomamba.data.clips.transforms import to_clip
from videomamba.models.videomamba import VideoMamba
from videomamba.models.whole import WholePass
from videomamba.schema import Preprocess, VideoError, VideoMambaError
from videomamba.serving import whole as module
from videomamba.serving.embedder import Embedder
from videomamba.serving.whole import whole
from videomamba.synthetic.dataset import render_clip
from videomamba.video.encode import write_video
from videomamba.video.open import open_video

PREPROCESS = Preprocess(num_frames=8, image_size=(64, 64))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, render_clip(0, 3, num_frames=50, height=64, width=80), fps=10)
    return path


def a_model(**options: object) -> VideoMamba:
    torch.manual_seed(0)
    return create_model("videomamba_micro", num_frames=8, image_size=64, dim=32, depth=2, **options).eval()


@pytest.mark.parametrize("lot", [1, 16])
@pytest.mark.parametrize(("fps", "tubelet", "taken"), [(None, 1, range(50)), (2.0, 1, range(0, 50, 5)), (3.0, 2, None)])
def test_it_sees_the_frames_of_the_rate(
    film: Path, monkeypatch: pytest.MonkeyPatch, fps: float | None, tubelet: int, taken: range | None, lot: int
) -> None:
    monkeypatch.setattr(module, "MOST_FRAMES", lot)
    model, told = a_model(tubelet_size=tubelet), []
    seen = whole(Embedder(model, PREPROCESS), film, fps=fps, progress=lambda *at: told.append(at))
    indices = list(taken) if taken is not None else [0, 3, 6, 10, 13, 16, 20, 23, 26, 30, 33, 36, 40, 43, 46, 46]
    with open_video(film) as video:
        clip = to_clip(video.frames(indices), PREPROCESS)
        times = [video.timestamps[i] for i in indices[::tubelet]]
    through = WholePass(model, len(indices))
    through.push(clip.data)
    expected = through.run()
    assert seen.num_frames == len(indices) and seen.tokens == 1 + len(indices) // tubelet * 16
    assert torch.equal(seen.logits, expected.logits) and torch.equal(seen.frames, expected.frames)
    torch.testing.assert_close(seen.timestamps, torch.tensor(times, dtype=torch.float64))
    assert told[-1][0] == "tokens" and told[-1][1] == told[-1][2]
    assert [done for stage, done, _ in told if stage == "frames"][-1] == len(indices)


def test_what_does_not_fit_is_said_in_one_line_about_the_file(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VideoMambaError, match=r"film\.mp4: spatiotemporal_v2"):
        whole(Embedder(a_model(scan_order="spatiotemporal_v2"), PREPROCESS), film)
    monkeypatch.setattr("videomamba.models.whole.os.sysconf", lambda _: 100)
    with pytest.raises(VideoError, match=r"film\.mp4: .* fewer frames"):
        whole(Embedder(a_model(), PREPROCESS), film)
