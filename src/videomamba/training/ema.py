"""An exponential moving average of the weights, which often generalises better than the last ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from videomamba.schema import VideoMambaError


class EMA:
    """average <- decay * average + (1 - decay) * weight after each step, in fp32, from the weights that it is made with.

    There is no warm-up of the decay, as in the original: about the last 1 / (1 - decay) steps count, and a run that is
    not several times as long evaluates much of its start. Works on fp32 masters and on sharded tensors.
    """

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay must lie between 0 and 1, got {decay}")
        self.decay = decay
        self._averages = {name: p.detach().to(torch.float32, copy=True) for name, p in named_parameters}

    @torch.no_grad()
    def update(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Adds the weights after a step. Raises ValueError when the names are not those that it was made with."""
        weights = self._matched(named_parameters)
        averages = list(self._averages.values())
        torch._foreach_lerp_(averages, [weight.detach().float() for weight in weights], 1 - self.decay)

    def state_dict(self) -> dict[str, Tensor]:
        """{name: average}, fp32; the averages themselves, not copies."""
        return dict(self._averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Fills the averages. Raises VideoMambaError, with nothing changed, when `state` is of another network."""
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

    def _matched(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> list[nn.Parameter]:
        """The parameters in the averages' order."""
        found = dict(named_parameters)
        if found.keys() != self._averages.keys():
            first = sorted(found.keys() ^ self._averages.keys())[0]
            raise ValueError(f"{first}: not among both the averaged and the given parameters")
        return [found[name] for name in self._averages]
