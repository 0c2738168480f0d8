"""`videomamba bench` at tiny sizes: which figures it gives, never how large a time is."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.cli.test_main import run
from videomamba.bench import measure as benchmark
from videomamba.bench import model as bench_model
from videomamba.bench import ops as bench_ops
from videomamba.bench import peers
from videomamba.bench.candidates import AGAINST
from videomamba.bench.flops import macs, mixer_passes, products, tokens
from videomamba.cli.bench import Against
from videomamba.models.config import VideoMambaConfig
from videomamba.models.registry import build_config
from videomamba.ops import dispatch, native
from videomamba.weights.create import create_model

TINY = ("--model", "videomamba_micro", "--frames", 1, "--size", 32, "--runs", 1)


def checked_peak(build: Callable[..., Callable[[], object]], settings: VideoMambaConfig, *args: object) -> int:
    """In place of `peak_memory`, without its process: what would go there can, and runs; a megabyte a frame."""
    pickle.loads(pickle.dumps(partial(build, settings, *args)))()()
    return settings.num_frames * 10**6


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_COPY_BYTES", 2**20)
    monkeypatch.setattr(benchmark, "_PRODUCT_SIZE", 64)


def config(size: str, resolution: int, frames: int = 1, **more: object) -> VideoMambaConfig:
    return build_config(f"videomamba_{size}", {"image_size": resolution, "num_frames": frames, **more})


class TestFlops:
    # Published GFLOPs of the image models; then what the published count leaves out: the projections and convolutions
    # between in_proj and out_proj, and the scan.
    @pytest.mark.parametrize(
        ("size", "resolution", "published", "projections", "scan"),
        [
            ("tiny", 224, 1.1, 0.22, 0.52),
            ("tiny", 448, 4.3, 0.87, 2.08),
            ("tiny", 576, 7.1, 1.43, 3.44),
            ("small", 224, 4.3, 0.61, 1.05),
            ("small", 448, 16.9, 2.43, 4.17),
            ("small", 576, 28.0, 4.02, 6.89),
            ("middle", 224, 12.7, 1.57, 2.09),
            ("middle", 448, 50.4, 6.25, 8.33),
            # 83.1 was published, which no rounding of the same count gives: 83.32, a quarter of a percent more
            ("middle", 576, 83.3, 10.33, 13.77),
            ("base", 224, 16.9, 1.92, 2.09),
        ],
    )
    def test_images(self, size: str, resolution: int, published: float, projections: float, scan: float) -> None:
        counted = macs(config(size, resolution))
        seen = macs(config(size, resolution), as_published=True)
        hidden = {part: count for part, count in counted.items() if part not in seen}
        assert round(sum(seen.values()) / 1e9, 1) == published
        assert counted["scan, both directions"] / 1e9 == pytest.approx(scan, abs=0.0051)
        del hidden["scan, both directions"]
        assert sum(hidden.values()) / 1e9 == pytest.approx(projections, abs=0.0051)

    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ("tiny", (8.6, 17.2, 34.4, 68.7, 202, 28.4)),
            ("small", (33.9, 67.7, 135, 271, 795, 112)),
            ("middle", (101, 202, 403, 806, 2368, 333)),
        ],
    )
    def test_videos(self, size: str, expected: tuple[float, ...]) -> None:
        clips = ((8, 224), (16, 224), (32, 224), (64, 224), (64, 384), (16, 288))
        for (frames, resolution), published in zip(clips, expected, strict=True):
            found = sum(macs(config(size, resolution, frames), as_published=True).values()) / 1e9
            assert round(found, 1 if isinstance(published, float) else 0) == published

    def test_products_are_those_of_the_network(self) -> None:
        """Every matrix of the network occurs with its shape, as often as it is there."""
        small = build_config("videomamba_micro", {"num_frames": 2, "depth": 3, "tubelet_size": 2})
        modules = create_model("videomamba_micro", num_frames=2, depth=3, tubelet_size=2).modules()
        weights = [m.weight.flatten(1) for m in modules if isinstance(m, torch.nn.Linear | torch.nn.Conv3d)]
        shapes: Counter[tuple[int, ...]] = Counter(tuple(weight.shape) for weight in weights)
        counted: Counter[tuple[int, ...]] = Counter()
        for product in products(small):
            counted[product.outer, product.inner] += product.count
        assert counted == shapes

    def test_special_cases(self) -> None:
        both = build_config(
            "videomamba_micro", {"scan_order": "spatiotemporal_v2", "num_classes": 0, "num_registers": 3}
        )
        assert mixer_passes(both) == 12 and tokens(both) == 8 * 36 + 4
        assert "head" not in macs(both)

    def test_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, "bench", "flops", "--frames", 1, "--as-published", "--json")
        records = [json.loads(line) for line in out.splitlines()]
        assert code == 0 and err == "" and records[0]["table"] == "machine"
        assert records[-1]["part"] == "total" and round(records[-1]["gmacs"], 2) == 1.08
        network = {"model": "videomamba_tiny", "frames": 1, "size": "224x224", "tokens": 197, "classes": 1000}
        assert records[1] == {"table": "network", **network}
        assert not [r for r in records[2:] if "scan" in r["part"] or "conv" in r["part"]]
        _, out, _ = run(capsys, "bench", "flops", "--frames", 1)
        assert "scan, both directions" in out and "1.82" in out


class TestOps:
    @pytest.mark.usefixtures("two_layers")
    def test_every_backend_and_every_figure(
        self, capsys: pytest.CaptureFixture[str], small_limits: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bench_ops, "peak_memory", checked_peak)
        code, out, err = run(capsys, "bench", "ops", *TINY, "--json")
        records = [json.loads(line) for line in out.splitlines()]
        assert (code, err) == (0, "")
        backends = {"reference", "chunked", *(f"native {isa}" for isa in dispatch.native_isas())}
        modes = {(dtype, mode) for dtype in ("fp32", "bf16") for mode in bench_ops.MODES}
        for op, peers_of in (("selective_scan", set()), ("causal_conv1d", {"conv1d alone", "conv1d with transposes"})):
            timed = [r for r in records if r["table"].startswith(op)]
            assert {(r["dtype"], r["mode"], r["candidate"]) for r in timed} == {
                (*mode, name) for mode in modes for name in backends | peers_of
            }
            assert all(r["ms"] > 0 and r["runs"] == 1 and r["vs reference"] > 0 for r in timed)
        roofs = [r for r in records if r["table"].startswith("roofline")]
        assert {(r["op"], r["dtype"], r["mode"]) for r in roofs} == {
            (op, *mode) for op in ("selective_scan", "causal_conv1d") for mode in modes
        }
        assert all(r["bound by"] in ("memory", "arithmetic") and r["fraction"] > 0 for r in roofs)
        assert [r for r in records if r["table"].startswith("limits")] and [r for r in records if "peak MB" in r]

    def test_what_is_compared_is_the_same(self) -> None:
        """The peers compute what ours does, and every backend is really reached."""
        inputs = bench_ops.conv_inputs(config("micro", 32), torch.float32)
        found = {name: [] for name in bench_ops.backends()}
        for name, context in bench_ops.backends().items():
            bench_ops._within(context, [lambda name=name: found[name].append(bench_ops.causal_conv1d(**inputs))])()
        for (out,) in found.values():
            torch.testing.assert_close(out, bench_ops.torch_conv(**inputs))

    def test_the_least_bytes(self) -> None:
        """Two directions of fp32: u, delta, z, out (l, e), B, C (l, n), A (e, n), D and bias (e,)."""
        small = config("micro", 32)
        length, e, n = tokens(small), small.inner_dim, small.d_state
        inputs = 3 * length * e + 2 * length * n + e * n + 2 * e
        moved, _ = bench_ops.least_work("selective_scan", "forward", small, torch.float32)
        assert moved == 2 * 4 * (inputs + length * e)
        moved, _ = bench_ops.least_work("selective_scan", "fwd+bwd", small, torch.float32)
        assert moved == 2 * 4 * (3 * inputs + 2 * length * e)


class TestModel:
    @pytest.mark.usefixtures("two_layers")
    def test_every_figure(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bench_model, "peak_memory", checked_peak)
        plot = tmp_path / "growth.png"
        options = (*TINY, "--lengths", 1, 2, "--plot", plot, "--json")
        code, out, err = run(capsys, "bench", "model", *options)
        records = [json.loads(line) for line in out.splitlines()]
        assert (code, err) == (0, "")
        timed = [r for r in records if "over products" in r]
        expected = {
            (mode, dtype, name)
            for mode in ("inference", "training step")
            for dtype in ("fp32", "bf16")
            for name in ("videomamba_micro", "its products")
        }
        assert {(r["mode"], r["dtype"], r["candidate"]) for r in timed} >= expected
        growth = [r for r in records if "ms per frame" in r]
        assert [r["frames"] for r in growth] == [1, 2]
        assert [r["peak MB"] for r in growth] == [1.0, 2.0]
        assert isinstance(records[-1]["time"], float) and records[-1]["memory"] == pytest.approx(1)
        assert plot.read_bytes().startswith(b"\x89PNG")
        assert peers.available() or any(r.get("why") == peers.ABSENCE for r in records)

    @pytest.mark.parametrize("build", [bench_model.build_inference, bench_model.build_training_step])
    def test_shares_are_those_of_known_parts(self, build: object) -> None:
        shares = bench_model.shares(build(config("micro", 32, depth=2), torch.float32))
        assert {"products", "scan", "conv", "norm+residual", "rest"} <= set(shares)
        assert sum(shares.values()) == pytest.approx(1)
        assert all(0 < share < 1 for share in shares.values())

    def test_profiling_leaves_the_kernels_as_they_were(self) -> None:
        before = native.scan
        with dispatch.kernels_in_profiles():
            assert native.scan is not before
        assert native.scan is before

    def test_timesformer_runs(self) -> None:
        pytest.importorskip("transformers")
        logits = peers.peer_inference(peers.TIMESFORMER_B, frames=1, size=32, dtype=torch.float32)()
        assert isinstance(logits, torch.Tensor) and logits.shape[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("efficiency", "--lengths", "8", "--plot", "a.png"), "two different --lengths"),
        (("ops", "--runs", "0"), "--runs 0"),
        (("model", "--lengths", "0", "8"), "--lengths 0"),
        (("model", "--lengths", "8", "--plot", "a.png"), "two different --lengths"),
        (("flops", "--model", "videomamba_tinny"), "did you mean 'videomamba_tiny'"),
        (("flops", "--size", "50"), "multiple of patch_size"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "bench", *arguments)
    assert (code, out) == (1, "")
    assert message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", ["ops --plot a.png", "flops --lengths 8", "efficiency --frames 8", "training --plot a"]
)
def test_each_benchmark_has_only_its_own_options(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "bench", *arguments.split())
    assert (code, out) == (2, "") and arguments.split()[1] in err


def test_the_command_line_names_every_network_with_attention() -> None:
    assert get_args(Against) == AGAINST


def test_an_instruction_set_is_used_and_given_back() -> None:
    with pytest.raises(ValueError, match="no native kernels for 'sse1'"), dispatch.use_isa("sse1"):
        pass
    for isa in dispatch.native_isas():
        before = dispatch.describe_native()
        with dispatch.use_isa(isa):
            assert dispatch.describe_native().startswith(isa)
        assert dispatch.describe_native() == before
