"""What a network takes: normalised clips, also none of them; pixels are refused with the way to normalise them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from videomamba import create_model
from videomamba.models.check import check_pixels
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Clip
from videomamba.serving.embedder import Embedder
from videomamba.serving.predictor import Predictor

Build = Callable[..., VideoMamba]


def pixels(high: float = 255.0) -> Tensor:
    return torch.linspace(0, high, 2 * 3 * 4 * 32 * 32).reshape(2, 3, 4, 32, 32)


@pytest.mark.parametrize(
    ("video", "kind"),
    [
        (pixels().byte(), "got uint8"),
        (pixels().long(), "got int64"),
        (pixels() > 1, "got bool"),
        (pixels().to(torch.complex64), "got complex64"),
        (pixels(), "has pixels from 0 to 255"),
        (pixels().half(), "has pixels from 0 to 255"),
    ],
)
def test_pixels_are_refused_with_the_way_to_normalise_them(build: Build, video: Tensor, kind: str) -> None:
    model = build().eval()
    for call in (model, model.forward_features, model.forward_tokens, model.embed):
        with pytest.raises(
            ValueError, match=rf"{kind}.*normalise it by the model's Preprocess, \(video / 255 - mean\) / std"
        ):
            call(video)


@pytest.mark.parametrize("video", [pixels(1), pixels() / 127.5 - 1, pixels() - 1, pixels(30), pixels()[:0]])
def test_what_may_be_normalised_is_not_refused(video: Tensor) -> None:
    check_pixels(video)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # vmap's, since PyTorch 2.15
def test_the_check_is_not_in_a_graph(build: Build) -> None:
    model, clip = build(depth=1).eval(), pixels(1)
    with torch.no_grad():
        expected = model(clip)
        traced = [
            make_fx(model)(clip),
            torch.export.export(model, (clip,)).module(),
            torch.compile(model, backend="aot_eager", fullgraph=True),
        ]
        for graph in traced:
            torch.testing.assert_close(graph(clip), expected)
        with FlopCounterMode(display=False):
            model(clip)
        torch.func.vmap(lambda one: model(one[None]))(clip)


@pytest.mark.parametrize("options", [{}, {"scan_order": "spatiotemporal_v2"}, {"pool": "mean"}])
@pytest.mark.parametrize("training", [True, False])
def test_no_clips_have_a_result_without_rows(build: Build, options: dict[str, object], training: bool) -> None:
    model = build(**options).train(training)
    none, counts = torch.empty(0, 3, 4, 32, 32), torch.empty(0, dtype=torch.int64)
    with torch.set_grad_enabled(training):
        assert model(none).shape == model(none, counts).shape == (0, 5)
        assert model.forward_features(none).shape == (0, 32)
        assert model.forward_tokens(none).shape == model.forward_tokens(none, counts).shape == (0, 17, 32)
        assert [m.shape for m in model.forward_intermediates(none, [0, -1])] == 2 * [(0, 4, 2, 2, 32)]
        assert model.encode(model.embed(none)).shape == (0, 17, 32)
    if training:
        model(none).sum().backward()
        assert not model.head.weight.grad.any()


def test_no_clips_for_a_program(bundle: object) -> None:
    clips: list[Clip] = []
    assert Predictor.from_pretrained(bundle).logits(clips).shape == (0, 16)  # type: ignore[arg-type]
    assert Embedder.from_pretrained(bundle).features(clips).shape == (0, 32)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # from PyTorch's own exporter
def test_the_number_of_clips_of_an_exported_graph_is_free(build: Build) -> None:
    model = build(depth=1).eval()
    exported = torch.export.export(model, (pixels(1),), dynamic_shapes=({0: torch.export.Dim("b")},)).module()
    three = torch.randn(3, 3, 4, 32, 32)
    torch.testing.assert_close(exported(three), model(three))


@pytest.mark.parametrize(
    ("video", "error", "said"),
    [
        ([1], TypeError, "must be a tensor"),
        (torch.zeros(3, 4, 32, 32), ValueError, r"add the dimension of the clips: video\[None\]$"),
        (torch.zeros(1, 4, 32, 32, 3), ValueError, "its three channels come before time, height and width$"),
        (torch.zeros(1, 3, 5, 32, 32), ValueError, "create the model with that num_frames"),
    ],
)
def test_advice_about_other_inputs(video: object, error: type[Exception], said: str) -> None:
    model = create_model("videomamba_micro", num_classes=4, num_frames=4, image_size=32)
    with pytest.raises(error, match=said):
        model(video)
