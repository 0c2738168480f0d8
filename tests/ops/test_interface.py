"""What the ops refuse, how a backend is chosen, and what PyTorch's tools need of a registered op."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from types import ModuleType

import pytest
import torch

from tests.ops.cases import as_leaves, conv_call, scan_call
from videomamba import create_model
from videomamba.ops import causal_conv1d, choice, chunked, dispatch, native, selective_scan
from videomamba.ops.dispatch import ConvCall, LayerCall, ScanCall, use_backend
from videomamba.ops.layout import ScanResult


def a_scan(**changes: object) -> dict[str, object]:
    return {**scan_call(length=5, channels=6, states=4, dtype=torch.float32, full=True, strided=False), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"u": torch.zeros(0, 5, 6)}, "u must not be empty"),
        ({"u": torch.zeros(5, 6)}, r"u must be \(b, l, e\)"),
        ({"u": torch.zeros(2, 5, 6, dtype=torch.long)}, "floating point"),
        ({"delta": torch.zeros(2, 4, 6)}, "delta must be"),
        ({"delta": torch.zeros(2, 5, 6, dtype=torch.bfloat16)}, "dtype of the sequence"),
        ({"A": torch.zeros(6)}, r"A must be \(e, n\)"),
        ({"B": torch.zeros(2, 5, 3)}, "B must be"),
        ({"D": torch.zeros(5)}, "D must be"),
        ({"initial_state": torch.zeros(2, 4, 6)}, "initial_state must be"),
        ({"A": torch.zeros(6, 4, device="meta")}, "A must be on the device of the sequence, cpu"),
        ({"A": torch.zeros(6, 4, dtype=torch.complex64)}, "A must be real"),
        ({"discretization": "bilinear"}, "discretization must be"),
        ({"lengths": [5, 3]}, r"lengths must be a tensor \(b,\) of int64, got list"),
        ({"lengths": torch.tensor([5])}, r"lengths must be \(b,\) = \(2,\) of int64, got \(1,\) of torch.int64"),
        ({"lengths": torch.tensor([5, 3], dtype=torch.int32)}, "got \\(2,\\) of torch.int32"),
        (
            {"lengths": torch.zeros(2, dtype=torch.int64, device="meta")},
            "lengths must be on the device of the sequence, cpu",
        ),
        ({"lengths": torch.tensor([5, 6])}, r"lengths must lie between 0 and l = 5, got \[5, 6\]"),
        ({"lengths": torch.tensor([-1, 3])}, "lengths must lie between 0 and l = 5"),
    ],
)
def test_scan_refuses_what_does_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        selective_scan(**a_scan(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(2, 0, 6)}, "x must not be empty"),
        ({"weight": torch.zeros(6)}, "weight must be"),
        ({"weight": torch.zeros(5, 4)}, "weight must be"),
        ({"bias": torch.zeros(5)}, "bias must be"),
        ({"initial_state": torch.zeros(2, 4, 6)}, "initial_state must be"),
        ({"activation": "relu"}, "activation must be"),
        ({"lengths": torch.tensor([5.0, 3.0])}, "lengths must be"),
        ({"lengths": torch.tensor([5, 6])}, r"lengths must lie between 0 and l = 5, got \[5, 6\]"),
    ],
)
def test_conv_refuses_what_does_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal_conv1d(**{**conv_call(length=5, channels=6, taps=4, dtype=torch.float32, full=True), **changes})


@pytest.mark.parametrize("lengths", [[2, 6], [-1, 2]])
def test_the_reference_refuses_lengths_too(lengths: list[int]) -> None:
    with use_backend("reference"), pytest.raises(ValueError, match="lengths must lie between 0 and l = 5"):
        selective_scan(**a_scan(lengths=torch.tensor(lengths)))


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown backend 'cuda'"), use_backend("cuda"):
        pass


@pytest.mark.skipif(native.kernels is None, reason="the native kernels are not built")
def test_a_forced_backend_refuses_rather_than_falls_back() -> None:
    with use_backend("native"), pytest.raises(RuntimeError, match="'native' cannot serve this call: it serves float32"):
        selective_scan(**scan_call(length=5, channels=6, states=4, dtype=torch.float64, full=False, strided=False))


def test_the_reasons_name_every_backend() -> None:
    verdicts = dict(dispatch.explain(ScanCall(torch.device("cpu"), torch.float64)))
    assert verdicts["chunked"] == "serves"
    assert "float64" in verdicts["native"] or native.kernels is None
    assert dispatch.why_not("native", ConvCall(torch.device("meta"), torch.float32)) == "it serves the CPU, not meta"


def test_the_backend_is_forced_for_this_thread_only() -> None:
    seen: list[str] = []
    with use_backend("reference"):
        thread = threading.Thread(target=lambda: seen.append(choice.request().backend))
        thread.start()
        thread.join()
    assert seen == ["auto"]


@pytest.fixture
def picky(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A backend that comes before the others and can do little: `asked` has the calls that it served."""
    backend = ModuleType("videomamba.ops.picky")

    def why_not(call: ScanCall | ConvCall | LayerCall) -> str | None:
        if isinstance(call, LayerCall):
            return "it has no fused layer"
        if isinstance(call, ConvCall):
            return f"it takes 4 taps, not {call.taps}" if call.taps != 4 else None
        if call.states % 8:
            return f"it takes states in groups of 8, not {call.states}"
        if call.shape[2] > 8:
            return f"it takes 8 channels, not {call.shape[2]}"
        return "it has no zero-order hold" if call.discretization == "zoh" else None

    def states_shape(shape: Sequence[int], states: int) -> tuple[int, ...]:
        return (*chunked.states_shape(shape, states), 1)

    def scan(*args: object, **kwargs: object) -> ScanResult:
        result = chunked.scan(*args, **kwargs)
        backend.asked.append("scan")
        return result._replace(states=result.states[..., None]) if args[1].save_states else result

    def scan_backward(
        grad_out: torch.Tensor,
        grad_state: torch.Tensor,
        inputs: object,
        states: torch.Tensor,
        *rest: object,
        **more: object,
    ) -> object:
        backend.asked.append("scan_backward")
        return chunked.scan_backward(grad_out, grad_state, inputs, states[..., 0], *rest, **more)

    vars(backend).update(asked=[], why_not=why_not, states_shape=states_shape, scan=scan, scan_backward=scan_backward)
    backend.conv = lambda *args, **kwargs: backend.asked.append("conv") or chunked.conv(*args, **kwargs)
    monkeypatch.setitem(sys.modules, "videomamba.ops.picky", backend)
    monkeypatch.setattr(choice, "PREFERENCE", ("picky", *choice.PREFERENCE))
    return backend


def test_a_backend_refuses_by_shape_and_flags_and_another_serves(picky: ModuleType) -> None:
    fits, channels, states = ({"channels": c, "states": n} for c, n in ((6, 8), (9, 8), (6, 4)))
    for sizes, flags, reason in (
        (fits, {}, None),
        (fits, {"discretization": "zoh"}, "it has no zero-order hold"),
        (channels, {}, "it takes 8 channels, not 9"),
        (states, {}, "it takes states in groups of 8, not 4"),
    ):
        call = scan_call(length=5, dtype=torch.float32, full=True, strided=False, **sizes)
        picky.asked.clear()
        expected = selective_scan(**call, **flags)
        assert picky.asked == ([] if reason else ["scan"])
        with use_backend("picky"), pytest.raises(RuntimeError, match=reason) if reason else nullcontext():
            torch.testing.assert_close(selective_scan(**call, **flags), expected)
    conv = conv_call(length=5, channels=6, taps=3, dtype=torch.float32, full=True)
    causal_conv1d(**conv)
    with use_backend("picky"), pytest.raises(RuntimeError, match="it takes 4 taps, not 3"):
        causal_conv1d(**conv)
    assert dispatch.explain(ScanCall(torch.device("cpu"), torch.float32, states=4))[0] == (
        "picky",
        "it takes states in groups of 8, not 4",
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # from PyTorch's own compiler
def test_a_backend_keeps_what_it_likes_for_its_own_backward_pass(picky: ModuleType) -> None:
    call = scan_call(length=70, channels=6, states=8, dtype=torch.float32, full=True, strided=False)
    leaves = as_leaves(call)
    expected = torch.autograd.grad(selective_scan(**leaves).sum(), leaves["delta"])[0]
    with use_backend("picky"):
        out = selective_scan(**leaves).sum()
    with use_backend("chunked"):  # the backward pass runs where the forward pass ran
        assert torch.equal(torch.autograd.grad(out, leaves["delta"])[0], expected)
    assert picky.asked == ["scan", "scan_backward"] * 2
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad(compiled(**leaves).sum(), leaves["delta"])[0], expected)
    out = compiled(**leaves).sum()
    with use_backend("chunked"), pytest.raises(RuntimeError, match="ran on another backend"):
        torch.autograd.grad(out, leaves["delta"])


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # from PyTorch's own exporter
@pytest.mark.parametrize(("backend", "strict"), [("chunked", False), ("chunked", True), ("reference", False)])
def test_a_plain_graph_holds_no_op_of_ours(backend: str, strict: bool) -> None:
    torch.manual_seed(0)
    options = {"depth": 1, "dim": 32, "num_frames": 2, "image_size": 48, "num_classes": 5, "num_registers": 1}
    model = create_model("videomamba_micro", scan_order="spatiotemporal_v2", **options).eval()
    clip = torch.randn(1, 3, 2, 48, 48)
    with use_backend(backend, plain=True):
        exported = torch.export.export(model, (clip,), strict=strict)
    targets = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert all(target.startswith("aten.") or "getitem" in target for target in targets), targets
    with use_backend(backend), torch.no_grad():
        assert torch.equal(exported.module()(clip), model(clip))


def test_plain_code_says_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="'native' has no plain PyTorch code; choose from chunked, reference"):
        use_backend("native", plain=True).__enter__()
    leaves = as_leaves(scan_call(length=5, channels=6, states=4, dtype=torch.float32, full=True, strided=False))
    with use_backend("auto", plain=True):
        with pytest.raises(RuntimeError, match=r"plain code of videomamba\.ops\.chunked has no gradients"):
            selective_scan(**leaves)
        with torch.no_grad(), pytest.raises(ValueError, match="lengths must lie between"):
            selective_scan(**leaves, lengths=torch.tensor([6, 2]))
        with torch.no_grad():
            plain = selective_scan(**leaves)
    with use_backend("chunked"):
        assert torch.equal(selective_scan(**leaves), plain)


@pytest.mark.parametrize("backend", ["reference", "chunked"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("discretization", ["euler", "zoh"])
def test_scan_gradients_by_finite_differences(backend: str, reverse: bool, discretization: str) -> None:
    call = scan_call(length=5, channels=2, states=2, dtype=torch.float64, full=True, strided=False)
    leaves = as_leaves(call)

    def run(*tensors: torch.Tensor, **more: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        named = {**dict(zip(leaves, tensors, strict=True)), **more}
        return selective_scan(**named, reverse=reverse, discretization=discretization, return_final_state=True)

    with use_backend(backend):
        assert torch.autograd.gradcheck(run, tuple(leaves.values()))
        assert torch.autograd.gradcheck(partial(run, lengths=torch.tensor([5, 2])), tuple(leaves.values()))


@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_conv_gradients_by_finite_differences(backend: str) -> None:
    leaves = as_leaves(conv_call(length=5, channels=2, taps=3, dtype=torch.float64, full=True))
    with use_backend(backend):
        assert torch.autograd.gradcheck(
            lambda *t: causal_conv1d(**dict(zip(leaves, t, strict=True)), reverse=True), tuple(leaves.values())
        )


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # from the checks
@pytest.mark.parametrize("lengths", [None, [9, 5]], ids=["whole", "padded"])
@pytest.mark.parametrize("backend", ["chunked", "native"])
def test_the_registered_ops_pass_pytorchs_own_checks(backend: str, lengths: list[int] | None) -> None:
    if backend == "native" and native.kernels is None:
        pytest.skip("the native kernels are not built")
    lengths = torch.tensor(lengths) if lengths else None
    scan = as_leaves(scan_call(length=40, channels=6, states=4, dtype=torch.float32, full=True, strided=False))
    flags = (True, True, "euler", True)
    torch.library.opcheck(torch.ops.videomamba.selective_scan, (*scan.values(), lengths, *flags, backend))
    conv = as_leaves(conv_call(length=9, channels=6, taps=4, dtype=torch.float32, full=True))
    torch.library.opcheck(torch.ops.videomamba.causal_conv1d, (*conv.values(), lengths, "silu", False, backend))


def mix(call: dict[str, torch.Tensor], weight: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Both ops on padded tokens, one after the other."""
    u = causal_conv1d(call["u"], weight, lengths=lengths, reverse=True)
    out = selective_scan(**{**call, "u": u}, lengths=lengths)
    assert isinstance(out, torch.Tensor)
    return out


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # from PyTorch's own compiler
def test_lengths_are_an_input_of_compiled_and_exported_graphs(backend: str) -> None:
    call = scan_call(length=9, channels=6, states=4, dtype=torch.float32, full=True, strided=False)
    weight, lengths = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([7, 4])
    compiled = torch.compile(mix, fullgraph=True, backend="aot_eager")
    leaves = as_leaves(call)
    out = compiled(leaves, weight, lengths)
    torch.testing.assert_close(out, mix(call, weight, lengths))
    found = torch.autograd.grad(out.sum(), leaves["delta"])[0]
    leaves = as_leaves(call)
    torch.testing.assert_close(found, torch.autograd.grad(mix(leaves, weight, lengths).sum(), leaves["delta"])[0])

    class Mix(torch.nn.Module):
        def forward(self, call: dict[str, torch.Tensor], weight: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            return mix(call, weight, lengths)

    exported = torch.export.export(Mix(), (call, weight, lengths), strict=True).module()
    other = torch.tensor([0, 9])
    torch.testing.assert_close(exported(call, weight, other), mix(call, weight, other))
    for graph in (compiled, exported):
        with pytest.raises(ValueError, match="lengths must lie between 0 and l = 9"):
            graph(call, weight, torch.tensor([7, 10]))


@pytest.mark.parametrize("payload", [0x7FC00000, 0x7FFFFFFF, -0x400000])
def test_every_nan_stays_one(backend: str, payload: int) -> None:
    call = scan_call(length=9, channels=16, states=16, dtype=torch.float32, full=False, strided=False)
    call["A"].view(torch.int32)[3, 5] = payload
    assert selective_scan(**call)[:, :, 3].isnan().all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # from PyTorch's own compiler
@pytest.mark.parametrize("order", ["spatial_first", "spatiotemporal_v2"])
def test_the_whole_network_compiles_and_exports_without_a_break(order: str) -> None:
    torch.manual_seed(0)
    options = {"depth": 2, "dim": 32, "num_frames": 2, "image_size": 32, "num_classes": 5}
    model = create_model("videomamba_micro", scan_order=order, **options)
    clip = torch.randn(2, 3, 2, 32, 32)
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(clip), model(clip), rtol=1e-4, atol=1e-5)
    compiled(clip).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model(clip).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5, msg=name)
    exported = torch.export.export(model.eval(), (clip,), strict=True)
    torch.testing.assert_close(exported.module()(clip), model(clip), rtol=1e-4, atol=1e-5)
