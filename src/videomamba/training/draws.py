"""Every seed of a run, derived in one place.

A run has no generator with a history. Each draw has a generator of its own, made from the run's seed and the place of the
draw. So a resumed run draws the same as an uninterrupted one, with any number of worker processes.

| draw | made from | used in |
|---|---|---|
| starting weights | seed | the recipe, before it builds the network |
| order of an epoch | seed, epoch, 0 | data/loading/order.py |
| frames, augmentation and masks of a sample | seed, epoch, position in the epoch + 1 | data/loading/dataset.py |
| mixup and cutmix of a step | seed, step, 0, 1 | the recipe; the same on all processes and micro-batches |
| mask of a validation clip | seed, record, 0, 3 | recipes/alignment.py |
| dropout and drop path of a step | seed, step, rank, 2 | training/run.py |
| order of the pictures of an epoch | seed, epoch, 0, 4 | data/loading/order.py, where pictures are trained beside videos |
| frames, augmentation and masks of a picture | seed, epoch, position in the epoch, 5 | data/loading/dataset.py |
| medium of each step of an epoch | seed, epoch, 0, 6 | data/loading/joint.py |
| caption, negatives, masked words of a pair | seed, epoch, position, clip, 7 or, of a picture, 8 | recipes/text/pairs.py |
| rows of a contact sheet | seed, video, row | cli/sheet.py |

The evaluation of classes draws nothing. NumPy treats keys that differ only in zeros at their end as the same key. So positions
and the other keys end in a number of their own.

Two choices depend on a seed of the data, not of a run, and stay in their layer: which videos are held out (the SHA-256 of
"split_seed/path", in data/sets/formats/held_out.py, so that a video keeps its side when others are added) and what a synthetic
video shows (synthetic/scene.py and film.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Draws:
    """The generators and seeds of the run with this `seed`. Equal arguments give equal draws, in every process."""

    seed: int

    def weights(self) -> int:
        """For `torch.manual_seed`, before the network is built."""
        return self.seed

    def order(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, 0])

    def sample(self, epoch: int, position: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, position + 1])

    def mixing(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, step, 0, 1])

    def validation_mask(self, record: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, record, 0, 3])

    def dropout(self, step: int, rank: int) -> int:
        """For `torch.manual_seed`, before the forward passes of a step."""
        return int(np.random.SeedSequence([self.seed, step, rank, 2]).generate_state(1, np.uint64)[0]) >> 1

    def media(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, 0, 6])

    def pair(self, epoch: int, position: int, clip: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, position, clip, 7])

    def of_pictures(self) -> PictureDraws:
        """Those of the pictures that are trained beside the videos."""
        return PictureDraws(self.seed)

    def sheet(self, video: int, row: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, video, row])


@dataclass(frozen=True)
class PictureDraws(Draws):
    """The draws that belong to the pictures of a run; all others are those of its videos."""

    def order(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, 0, 4])

    def sample(self, epoch: int, position: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, position, 5])

    def pair(self, epoch: int, position: int, clip: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, position, clip, 8])
