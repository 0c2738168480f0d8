"""Vectorised PyTorch: any device, no compiler, exportable arithmetic.

The sequence is walked in segments whose (b, s, e, n) tensors fit a fixed budget: no (b, l, e, n) tensor is built.
Inside a segment, blocks of `BLOCK` tokens advance side by side: BLOCK Python steps for the segment, whatever its length.

Shapes: b batch, l length, s tokens of a segment, e channels, n states per channel, k convolution taps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from videomamba.ops.layout import (
    Call,
    ConvFlags,
    LayerCall,
    ScanFlags,
    ScanGrads,
    ScanInputs,
    ScanResult,
    clear_padding,
    state_dtype,
)

R = TypeVar("R", bound=ScanInputs)

BLOCK = 32
"""Tokens that advance one after another; also between two states kept for the backward pass, in walking order."""
SEGMENT_ELEMENTS = 2**22
"""Budget for one (b, s, e, n) tensor, of which a handful exist at once. 16 MiB in fp32: larger ones leave the caches."""


def why_not(call: Call) -> str | None:
    """None when this backend can serve `call`, else the reason."""
    return "it has no fused layer" if isinstance(call, LayerCall) and not call.in_halves else None


def states_shape(shape: Sequence[int], states: int) -> tuple[int, int, int, int]:
    """(b, ceil(l / BLOCK), n, e): the state before each block of tokens in walking order, for u of `shape` (b, l, e)."""
    batch, length, channels = shape
    return batch, (length + BLOCK - 1) // BLOCK, states, channels


def linear_scan(decay: Tensor, x: Tensor, start: Tensor) -> Tensor:
    """h_t = decay_t h_{t-1} + x_t along dim 1 from h_{-1} = start. decay, x (b, s, e, n), start (b, e, n); x is overwritten.

    Two levels: all blocks advance together from zero, then the true state at each block's entry is carried through.
    """
    batch, length = x.shape[:2]
    size = min(BLOCK, length)
    blocks = -(-length // size)
    if blocks * size != length:  # identity steps at the end change nothing before them
        padding = blocks * size - length
        decay = F.pad(decay, (0, 0, 0, 0, 0, padding), value=1.0)
        x = F.pad(x, (0, 0, 0, 0, 0, padding))
    h = x.view(batch, blocks, size, *x.shape[2:])
    decay = decay.reshape(h.shape)
    product = torch.empty_like(h) if blocks > 1 else None
    if product is not None:
        product[:, :, 0] = decay[:, :, 0]
    else:
        h[:, 0, 0].addcmul_(decay[:, 0, 0], start)
    for i in range(1, size):
        h[:, :, i].addcmul_(decay[:, :, i], h[:, :, i - 1])
        if product is not None:
            torch.mul(decay[:, :, i], product[:, :, i - 1], out=product[:, :, i])
    if product is not None:
        entry = torch.empty_like(h[:, :, 0])
        entry[:, 0] = start
        for j in range(1, blocks):
            torch.addcmul(h[:, j - 1, -1], product[:, j - 1, -1], entry[:, j - 1], out=entry[:, j])
        h.addcmul_(product, entry.unsqueeze(2))
    return h.view(batch, blocks * size, *x.shape[2:])[:, :length]


def _expm1_ratio_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """psi(x) = (exp(x) - 1) / x and its derivative, by their series where the closed forms cancel."""
    near = x.abs() < 0.5
    safe = torch.where(near, torch.ones_like(x), x)
    psi = torch.expm1(safe) / safe
    slope = (torch.exp(safe) - psi) / safe
    series_psi, series_slope, term = torch.ones_like(x), torch.full_like(x, 0.5), torch.ones_like(x)
    for order in range(1, 13):  # psi = sum x^k / (k+1)!, psi' = sum (k+1) x^k / (k+2)!
        term = term * torch.where(near, x, torch.zeros_like(x)) / (order + 1)
        series_psi = series_psi + term
        series_slope = series_slope + term * (order + 1) / (order + 2)
    return torch.where(near, series_psi, psi), torch.where(near, series_slope, slope)


def _turn(t: Tensor, lengths: Tensor) -> Tensor:
    """(b, l, ...) with the first lengths[i] tokens of entry i in the opposite order, then its padding; its own inverse.

    It turns a reverse walk into a forward one, so that the padding comes last in every walk.
    """
    steps = torch.arange(t.shape[1], device=t.device)
    order = (lengths[:, None] - 1 - steps) % t.shape[1]  # (b, l)
    return t.gather(1, order[..., None].expand_as(t))


def _turn_sequences(record: R, lengths: Tensor) -> R:
    """Inputs or gradients with all that has a length turned."""
    return record._replace(
        u=_turn(record.u, lengths),
        delta=_turn(record.delta, lengths),
        B=_turn(record.B, lengths),
        C=_turn(record.C, lengths),
        z=None if record.z is None else _turn(record.z, lengths),
    )


def _segments(inputs: ScanInputs, reverse: bool) -> Iterator[slice]:
    """Slices of the sequence in walking order, each a whole number of blocks but for the last."""
    batch, length, channels = inputs.u.shape
    tokens = SEGMENT_ELEMENTS // (batch * channels * inputs.A.shape[1])
    tokens = max(tokens // BLOCK, 1) * BLOCK
    for first in range(0, length, tokens):
        last = min(first + tokens, length)
        yield slice(length - last, length - first) if reverse else slice(first, last)


class _Segment:
    """The tensors of one segment for both passes, in walking order and in the state's dtype.

    A step over padding has delta = B = C = 0: the state does not change.
    """

    def __init__(self, inputs: ScanInputs, flags: ScanFlags, lengths: Tensor | None, where: slice) -> None:
        self.reverse, self.lengths, self.where = flags.reverse, lengths, where
        dtype = self.dtype = state_dtype(inputs.u)
        take = self.take
        self.u, self.B, self.C = take(inputs.u), take(inputs.B), take(inputs.C)
        self.raw = take(inputs.delta)
        if inputs.delta_bias is not None:
            self.raw = self.raw + inputs.delta_bias.to(dtype)
        self.delta = self.clear_padding(F.softplus(self.raw) if flags.delta_softplus else self.raw)
        self.z = None if inputs.z is None else take(inputs.z)
        self.A = inputs.A.to(dtype)
        self.exponent = self.clear_padding(self.delta[..., None] * self.A)  # (b, s, e, n); A may be infinite
        self.decay = torch.exp(self.exponent)
        self.zoh = flags.discretization == "zoh"

    def clear_padding(self, walked: Tensor) -> Tensor:
        return clear_padding(walked, self.lengths, self.where.start)

    def take(self, t: Tensor) -> Tensor:
        """The segment of t (b, l, ...), in walking order."""
        part = t[:, self.where].to(self.dtype)
        return part.flip(1) if self.reverse else self.clear_padding(part)

    def put(self, t: Tensor, walked: Tensor) -> None:
        """Writes the segment of t (b, l, ...)."""
        t[:, self.where] = walked.flip(1) if self.reverse else self.clear_padding(walked)

    def states(self, start: Tensor) -> Tensor:
        """h (b, s, e, n) from the state before the segment."""
        x = (self.delta * self.u)[..., None]
        if self.zoh:
            x = x * _expm1_ratio_and_slope(self.exponent)[0]
        return linear_scan(self.decay, x * self.B[:, :, None, :], start)


def _readout(h: Tensor, C: Tensor) -> Tensor:
    """sum_n h C: (b, s, e, n), (b, s, n) -> (b, s, e)."""
    return torch.matmul(h, C.unsqueeze(-1)).squeeze(-1)


def scan(
    inputs: ScanInputs,
    flags: ScanFlags,
    lengths: Tensor | None = None,
    *,
    out: Tensor | None = None,
    other: Tensor | None = None,
) -> ScanResult:
    """Selective scan; the contract is `reference.scan`. `out` takes the result; `other` is added to it before the gate."""
    if lengths is not None and flags.reverse:
        turned = None if other is None else _turn(other, lengths)
        result = scan(_turn_sequences(inputs, lengths), flags._replace(reverse=False), lengths, other=turned)
        walked = _turn(result.out, lengths)
        return result._replace(out=walked if out is None else out.copy_(walked))
    dtype = state_dtype(inputs.u)
    batch, _, channels = inputs.u.shape
    if inputs.initial_state is None:
        h = inputs.u.new_zeros(batch, channels, inputs.A.shape[1], dtype=dtype)
    else:
        h = inputs.initial_state.to(dtype)
    if out is None:
        out = torch.empty(inputs.u.shape, dtype=inputs.u.dtype, device=inputs.u.device)
    entering: list[Tensor] = []
    for where in _segments(inputs, flags.reverse):
        seg = _Segment(inputs, flags, lengths, where)
        states = seg.states(h)
        if flags.save_states:
            entering += [h, *states[:, BLOCK - 1 : -1 : BLOCK].unbind(1)]
        h = states[:, -1].clone()
        y = _readout(states, seg.C)
        if inputs.D is not None:
            y = y + inputs.D.to(dtype) * seg.u
        if other is not None:
            y = y + seg.take(other)
        if seg.z is not None:
            y = y * F.silu(seg.z)
        seg.put(out, y)
    kept = torch.stack(entering, dim=1).mT.contiguous() if flags.save_states else h.new_empty(0)
    return ScanResult(out, h, kept)


def scan_backward(
    grad_out: Tensor,
    grad_state: Tensor,
    inputs: ScanInputs,
    states: Tensor,
    flags: ScanFlags,
    lengths: Tensor | None = None,
) -> ScanGrads:
    """Gradients by the adjoint recurrence g_t = C_t dy_t + exp(delta_{t+1} A) g_{t+1}, segment by segment from the end."""
    if lengths is not None and flags.reverse:
        turned, forward = _turn_sequences(inputs, lengths), flags._replace(reverse=False)
        grads = scan_backward(_turn(grad_out, lengths), grad_state, turned, states, forward, lengths)
        return _turn_sequences(grads, lengths)
    dtype = state_dtype(inputs.u)
    grads = ScanGrads._make(None if t is None else torch.zeros_like(t, dtype=dtype) for t in inputs)
    carry = grad_state.to(dtype)  # exp(delta_{t+1} A) g_{t+1} at the border of the segment
    for where in reversed(list(_segments(inputs, flags.reverse))):
        seg = _Segment(inputs, flags, lengths, where)
        length = inputs.u.shape[1]
        walked = length - where.stop if flags.reverse else where.start
        start = states[:, walked // BLOCK].mT
        h = seg.states(start)  # (b, s, e, n)
        before = torch.cat((start.unsqueeze(1), h[:, :-1]), dim=1)

        dy = seg.take(grad_out)
        if seg.z is not None and grads.z is not None:
            y = _readout(h, seg.C)
            if inputs.D is not None:
                y = y + inputs.D.to(dtype) * seg.u
            gate = torch.sigmoid(seg.z)
            seg.put(grads.z, dy * y * gate * (1 + seg.z * (1 - gate)))
            dy = dy * seg.z * gate
        seg.put(grads.C, torch.einsum("bse,bsen->bsn", dy, h))

        following = torch.cat((seg.decay[:, 1:], torch.ones_like(seg.decay[:, :1])), dim=1)
        source = dy[..., None] * seg.C[:, :, None, :]
        g = linear_scan(following.flip(1), source.flip(1), carry).flip(1)  # (b, s, e, n)
        carry = seg.decay[:, 0] * g[:, 0]

        through = g * seg.decay * before  # d h_t / d(delta_t A), the homogeneous part
        gB = g * seg.B[:, :, None, :]
        ddelta = (through * seg.A).sum(-1)
        if seg.zoh:
            psi, slope = _expm1_ratio_and_slope(seg.exponent)
            seg.put(grads.B, torch.einsum("bse,bsen->bsn", seg.delta * seg.u, g * psi))
            du = seg.delta * (gB * psi).sum(-1)
            ddelta = ddelta + seg.u * (gB * seg.decay).sum(-1)  # d(delta psi(delta A)) / d delta = exp(delta A)
            through = through + (seg.delta * seg.u)[..., None] * gB * slope
        else:
            seg.put(grads.B, torch.einsum("bse,bsen->bsn", seg.delta * seg.u, g))
            summed = gB.sum(-1)
            du = seg.delta * summed
            ddelta = ddelta + seg.u * summed
        grads.A.add_(torch.einsum("bse,bsen->en", seg.delta, through))
        if grads.D is not None and inputs.D is not None:
            du = du + inputs.D.to(dtype) * dy
            grads.D.add_((dy * seg.u).sum((0, 1)))
        seg.put(grads.u, du)
        if flags.delta_softplus:
            ddelta = ddelta * torch.where(seg.raw > 20, torch.ones_like(seg.raw), torch.sigmoid(seg.raw))
        ddelta = seg.clear_padding(ddelta)
        seg.put(grads.delta, ddelta)
        if grads.delta_bias is not None:
            grads.delta_bias.add_(ddelta.sum((0, 1)))
    if grads.initial_state is not None:
        grads.initial_state.copy_(carry)
    pairs = zip(grads, inputs, strict=True)
    return ScanGrads._make(None if g is None or t is None else g.to(t.dtype) for g, t in pairs)


def _taps(x: Tensor, taps: int, initial_state: Tensor | None, reverse: bool) -> Iterator[Tensor]:
    """For each tap w the (b, l, e) view of the padded sequence that weight[:, w] multiplies."""
    length = x.shape[1]
    outside = x.new_zeros(x.shape[0], taps - 1, x.shape[2]) if initial_state is None else initial_state.to(x.dtype)
    padded = torch.cat((x, outside) if reverse else (outside, x), dim=1).to(state_dtype(x))
    for w in range(taps):
        start = taps - 1 - w if reverse else w
        yield padded[:, start : start + length]


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor | None, reverse: bool) -> Tensor:
    dtype = state_dtype(x)
    out = torch.zeros(x.shape, dtype=dtype, device=x.device) if bias is None else bias.to(dtype).expand(x.shape).clone()
    for w, view in enumerate(_taps(x, weight.shape[1], initial_state, reverse)):
        out.addcmul_(view, weight[:, w].to(dtype))
    return out


def _mirror(initial_state: Tensor | None) -> Tensor | None:
    """The tokens outside the sequence in the order of the other direction."""
    return None if initial_state is None else initial_state.flip(1)


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    flags: ConvFlags,
    lengths: Tensor | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Causal depthwise convolution as k shifted multiply-adds; the contract is `reference.conv`. `out` takes the result."""
    if lengths is not None and flags.reverse:
        forward = flags._replace(reverse=False)
        result = _turn(conv(_turn(x, lengths), weight, bias, _mirror(initial_state), forward, lengths), lengths)
    else:
        result = _convolve(x, weight, bias, initial_state, flags.reverse)
        result = clear_padding(F.silu(result) if flags.activation == "silu" else result, lengths).to(x.dtype)
    return result if out is None else out.copy_(result)


def conv_backward(
    grad_out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    flags: ConvFlags,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Gradients for (x, weight, bias, initial_state): the transposed convolution, and sums over batch and length."""
    if lengths is not None and flags.reverse:
        turned, before, forward = _turn(x, lengths), _mirror(initial_state), flags._replace(reverse=False)
        grads = conv_backward(_turn(grad_out, lengths), turned, weight, bias, before, forward, lengths)
        return _turn(grads[0], lengths), *grads[1:3], _mirror(grads[3])
    dtype = state_dtype(x)
    length, taps = x.shape[1], weight.shape[1]
    x, p = clear_padding(x, lengths), grad_out.to(dtype)
    if flags.activation == "silu":
        out = _convolve(x, weight, bias, initial_state, flags.reverse)
        gate = torch.sigmoid(out)
        p = p * gate * (1 + out * (1 - gate))
    p = clear_padding(p, lengths)
    grad_padded = torch.zeros(x.shape[0], length + taps - 1, x.shape[2], dtype=dtype, device=x.device)
    grad_weight = torch.empty(weight.shape, dtype=dtype, device=x.device)
    for w, view in enumerate(_taps(x, taps, initial_state, flags.reverse)):
        start = taps - 1 - w if flags.reverse else w
        grad_padded[:, start : start + length].addcmul_(p, weight[:, w].to(dtype))
        grad_weight[:, w] = (p * view).sum((0, 1))
    inside, outside = slice(taps - 1, None), slice(0, taps - 1)
    if flags.reverse:
        inside, outside = slice(0, length), slice(length, None)
    return (
        clear_padding(grad_padded[:, inside].to(x.dtype, copy=True), lengths),
        grad_weight.to(weight.dtype),
        None if bias is None else p.sum((0, 1)).to(bias.dtype),
        None if initial_state is None else grad_padded[:, outside].to(initial_state.dtype, copy=True),
    )


def norm(x: Tensor, weight: Tensor, *, eps: float, out: Tensor, lengths: Tensor | None = None) -> Tensor:
    """RMSNorm of x (b, l, d) fp32 with weight (d,) fp32 into `out`; 0 at padding. Source: arXiv 1910.07467."""
    return out.copy_(clear_padding(F.rms_norm(x, weight.shape, weight, eps), lengths))
