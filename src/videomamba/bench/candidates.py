"""The candidates of `videomamba bench efficiency`: VideoMamba, TimeSformer-Ti in two forms, and networks of transformers.

Their costs are computed without running them; a process of its own builds each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from videomamba.bench import flops
from videomamba.bench.attention import Form, JointTimeSformer, inference, joint_timesformer_cost
from videomamba.bench.model import Call, build_inference
from videomamba.bench.peers import PEERS, Peer, available, peer_inference
from videomamba.models.config import VideoMambaConfig

TIMESFORMER_TI: tuple[Form, ...] = ("materialised", "fused")
AGAINST = (*TIMESFORMER_TI, *PEERS)
"""The names of the networks that VideoMamba is compared with."""


@dataclass(frozen=True)
class Work:
    """One candidate at one length in one dtype."""

    tokens: int
    macs: int
    least_bytes: int
    """A lower bound of its memory above an idle process with PyTorch."""
    build: Callable[[], Call]
    """Can be sent to a process."""


@dataclass(frozen=True)
class Candidate:
    name: str
    mixing: str
    """How its tokens exchange information."""
    implementation: str
    bf16: str
    """The part that a measurement in bf16 has in bf16."""
    work: Callable[[int, torch.dtype], Work]
    tubelet: int = 1
    """Frames in a patch: the length must be a multiple."""


def find_candidates(name: str, config: VideoMambaConfig, *, against: Sequence[str], device: str) -> list[Candidate]:
    """VideoMamba called `name`, then those of `against` (names of AGAINST) that are installed.

    All see square clips of the config's size; its own length does not matter.
    """
    size, classes = config.image_size[0], config.num_classes
    found = [
        Candidate(
            name,
            "selective scans in both directions",
            "videomamba",
            "matrix products (cast_products)",
            partial(_videomamba_work, config, device),
            config.tubelet_size,
        )
    ]
    for form in (form for form in TIMESFORMER_TI if form in against):
        found.append(
            Candidate(
                f"TimeSformer-Ti {form}",
                "attention of all to all",
                "scores = q k^T, softmax, times v" if form == "materialised" else "scaled_dot_product_attention",
                "the whole network",
                partial(_timesformer_work, form, size, classes, device),
            )
        )
    for peer in (peer for key, peer in PEERS.items() if key in against and available()):
        by, work = f"transformers, {peer.attention}", partial(_peer_work, peer, size, device)
        found.append(Candidate(peer.name, peer.mixing, by, "the whole network", work, peer.tubelet))
    return found


def _videomamba_work(config: VideoMambaConfig, device: str, frames: int, dtype: torch.dtype) -> Work:
    changed = config.model_copy(update={"num_frames": frames})
    tokens = flops.tokens(changed)
    # The residual stream before and after a layer, and one direction's result; a layer in steps needs several times that.
    needs = 4 * tokens * (2 * config.dim + config.inner_dim)
    build = partial(build_inference, changed, dtype, device)
    return Work(tokens, sum(flops.macs(changed).values()), needs, build)


def _timesformer_work(form: Form, size: int, classes: int, device: str, frames: int, dtype: torch.dtype) -> Work:
    cost = joint_timesformer_cost(frames=frames, size=size, classes=classes)
    needs = cost.least_bytes(itemsize=dtype.itemsize, materialised=form == "materialised")
    return Work(cost.tokens, cost.macs, needs, partial(build_timesformer, form, size, classes, device, frames, dtype))


def build_timesformer(form: Form, size: int, classes: int, device: str, frames: int, dtype: torch.dtype) -> Call:
    """Inference of TimeSformer-Ti on one clip with random weights, all of it in `dtype`."""
    model = JointTimeSformer(num_frames=frames, image_size=size, attention=form, num_classes=classes)
    model.eval().to(device, dtype)
    clip = torch.randn(1, 3, frames, size, size, dtype=dtype, device=device)
    return inference(lambda: model(clip))


def _peer_work(peer: Peer, size: int, device: str, frames: int, dtype: torch.dtype) -> Work:
    cost = peer.cost(frames=frames, size=size)
    needs = cost.least_bytes(itemsize=dtype.itemsize, materialised=peer.attention == "eager")
    build = partial(peer_inference, peer, frames=frames, size=size, dtype=dtype, device=device)
    return Work(cost.tokens, cost.macs, needs, build)
