"""Transitions of a stream: each is reported once, with its time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.serving.shots.films import Knows, film
from videomamba.schema import Clip
from videomamba.serving.live import watch


class Streamed(Knows):
    """Clips of a stream count their pictures from 0; those after the first, a trial, are of windows every 0.75 s."""

    answered = -1

    def logits(self, clips: Sequence[Clip]) -> Tensor:
        start = 0.75 * max(self.answered, 0)
        self.answered += 1
        return torch.stack([self._scores(start, start + 1.4) for _ in clips])


def test_a_cut_and_a_fade_of_a_stream(tmp_path: Path) -> None:
    changes = [("cut", 2.0, 2.0), ("fade", 4.0, 4.8)]
    path = film(tmp_path / "film.mp4", 7, changes)

    with watch(Streamed(changes, motions=[(0.0, "static", 0.5)]), str(path), drop="all") as answers:
        seen = list(answers)
    found = [(a.transition.kind, a.transition.time) for a in seen if a.transition is not None]
    assert found == [("cut", pytest.approx(2.0, abs=0.15)), ("fade", pytest.approx(4.4, abs=0.35))]
    assert seen[0].unsure and seen[0].predictions[0].label == "static" and "transition" in seen[0].as_dict()
    assert not any(a.unsure for a in seen if a.transition is not None)
