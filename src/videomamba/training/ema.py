"""An exponential moving average of the weights, which often generalises better than the last weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from videomamba.schema import VideoMambaError


class EMA:
    """average <- decay * average + (1 - decay) * weight after each step, in fp32, starting from the given weights.

    As in the original the decay has no warm-up: about the last 1 / (1 - decay) steps count, so a run should be several times
    as long. Works on fp32 masters and on sharded tensors.
    """

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay must lie between 0 and 1, got {decay}")
        self.decay = decay
        self._averages = {name: p.detach().to(torch.float32, copy=True) for name, p in named_parameters}

    @torch.no_grad()
    def update(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Adds the weights after a step. Raises ValueError for other names than at the start."""
        found = dict(named_parameters)
        if found.keys() != self._averages.keys():
            first = sorted(found.keys() ^ self._averages.keys())[0]
            raise ValueError(f"{first}: not among both the averaged and the given parameters")
        weights = [found[name].detach().float() for name in self._averages]
        torch._foreach_lerp_(list(self._averages.values()), weights, 1 - self.decay)

    def state_dict(self) -> dict[str, Tensor]:
        """{name: average}, fp32, not copied."""
        return dict(self._averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Fills the averages. Raises VideoMambaError, and changes nothing, for another network's."""
        expected = {name: average.shape for name, average in self._averages.items()}
        found = {name: average.shape for name, average in state.items()}
        wrong = [name for name in expected | found if expected.get(name) != found.get(name)]
        if wrong:
            raise VideoMambaError(
                f"the checkpoint's averaged weights are not of this network, the first {wrong[0]}; "
                "resume with the run's own config"
            )
        for name, average in self._averages.items():
            average.copy_(state[name])
