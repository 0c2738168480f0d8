"""An exponential moving average of the weights, which often generalises better than the last ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

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
        """Takes in the weights after a step. Raises ValueError when the names are not those that it was made with."""
        weights = self._matched(named_parameters)
        averages = list(self._averages.values())
        torch._foreach_lerp_(averages, [weight.detach().float() for weight in weights], 1 - self.decay)

    @contextlib.contextmanager
    def applied(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Iterator[None]:
        """Within the context the parameters hold the average; then, whatever happened, what they held before.

        Where the model computes with rounded copies of them, the caller publishes inside and again afterwards.
        """
        weights = self._matched(named_parameters)
        kept = [weight.detach().clone() for weight in weights]
        try:
            _copy(weights, self._averages.values())
            yield
        finally:
            _copy(weights, kept)

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
        _copy(self._averages.values(), [state[name] for name in self._averages])

    def _matched(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> list[nn.Parameter]:
        """The parameters in the averages' order."""
        found = dict(named_parameters)
        if found.keys() != self._averages.keys():
            first = sorted(found.keys() ^ self._averages.keys())[0]
            raise ValueError(f"{first}: not among both the averaged and the given parameters")
        return [found[name] for name in self._averages]


@torch.no_grad()
def _copy(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
