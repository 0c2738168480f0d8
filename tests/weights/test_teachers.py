"""Opening a teacher: which kind a name or a path is, every form of a CLIP's files, and one line for each that is wrong."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.models.networks import build_model, released_format
from tests.models.towers import NARROW, in_openai_names, save_tower, transformers
from videomamba.models.clip import ClipTeacher
from videomamba.models.teacher import FrozenTeacher, VideoMambaTeacher
from videomamba.schema import Preprocess, VideoMambaError, WeightsError
from videomamba.weights.bundle import save_bundle
from videomamba.weights.pretrained import open_pretrained
from videomamba.weights.teachers import open_teacher

CLIP = Preprocess(num_frames=4, image_size=(64, 64))
OTHERS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tower(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to change."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def configure(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def answer(teacher: FrozenTeacher) -> tuple[Tensor, Tensor]:
    video = torch.randn(1, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    tokens, attention = teacher(video, layers=(0, -1), attention=True)
    assert attention is not None
    return tokens, attention


def assert_same(one: FrozenTeacher, other: FrozenTeacher) -> None:
    for a, b in zip(answer(one), answer(other), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


class RunsCode:
    """An object whose pickle prints a word when it is opened without care."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("echo executed",)


def pickled(content: object, path: Path, *, protocol: int) -> None:
    path.write_bytes(pickle.dumps(content, protocol))


class TestVideoMamba:
    def test_at_the_size_of_its_clips(self, tmp_path: Path) -> None:
        model = build_model(image_size=64)
        path = save_bundle(tmp_path / "a.safetensors", model, CLIP.model_copy(update={"mean": (0.5, 0.5, 0.5)}))
        teacher = open_teacher(path, CLIP)
        assert isinstance(teacher, VideoMambaTeacher) and teacher.notes == () and teacher.name == str(path)
        assert teacher.grid == (4, 4, 4)
        raw = torch.rand(1, 3, 4, 64, 64)
        mean, std = (torch.tensor(values).reshape(3, 1, 1, 1) for values in (CLIP.mean, CLIP.std))
        with torch.no_grad():
            expected = model.eval().forward_tokens((raw - 0.5) / std)
        torch.testing.assert_close(teacher((raw - mean) / std).tokens[0], expected, rtol=1e-3, atol=1e-3)

    def test_at_another_size_says_so(self, tmp_path: Path) -> None:
        made = Preprocess(num_frames=2, image_size=(32, 32))
        path = save_bundle(tmp_path / "a.safetensors", build_model(num_frames=2), made)
        teacher = open_teacher(path, CLIP, precision="bf16")
        assert teacher.grid == (4, 4, 4) and len(teacher.notes) == 1
        assert "positions resized to the student's clips: pos_embed (1, 5, 32) -> (1, 17, 32)" in teacher.notes[0]
        assert "temporal_pos_embedding" in teacher.notes[0]
        expected = open_pretrained(path, num_frames=4, image_size=64).model.eval()
        found, video = open_teacher(path, CLIP), torch.randn(1, 3, 4, 64, 64)
        with torch.no_grad():
            assert torch.equal(found(video).tokens[0], expected.forward_tokens(video))

    def test_of_images_says_that_it_has_no_times(self, tmp_path: Path) -> None:
        picture = Preprocess(num_frames=1, image_size=(64, 64))
        path = save_bundle(tmp_path / "a.safetensors", build_model(num_frames=1, image_size=64), picture)
        assert open_teacher(path, CLIP).notes == (
            f"teacher {path}: set to zero for the student's clips: temporal_pos_embedding (absent from image weights)",
        )

    def test_of_the_zoo_and_of_masked_pretraining(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "videomamba_micro_synthetic").mkdir()  # does not hide the name
        assert isinstance(open_teacher("videomamba_micro_synthetic", CLIP), VideoMambaTeacher)
        torch.save(released_format(build_model(image_size=64, num_classes=0), "masked"), tmp_path / "their.pth")
        teacher = open_teacher("their.pth", CLIP)
        assert isinstance(teacher, VideoMambaTeacher) and "has no settings; assuming" in teacher.notes[0]

    def test_has_no_legacy(self) -> None:
        with pytest.raises(VideoMambaError, match="is a VideoMamba, for which there is no legacy form"):
            open_teacher("videomamba_micro_synthetic", CLIP, legacy=True)


class TestFolder:
    def test_with_its_own_mean_and_std(self, copied: Path) -> None:
        plain = open_teacher(copied, CLIP)
        assert plain.notes == (
            f"{copied}: has no preprocessor_config.json; assuming the mean and std of OpenAI's CLIP",
        )
        (copied / "preprocessor_config.json").write_text("{}")
        file = f"{copied / 'preprocessor_config.json'}: has no"
        unstated = open_teacher(copied, CLIP)
        assert unstated.notes == (f"{file} image_mean and no image_std; assuming those of OpenAI's CLIP",)
        (copied / "preprocessor_config.json").write_text(json.dumps({**OTHERS, "image_std": None}))
        assert open_teacher(copied, CLIP).notes == (f"{file} image_std; assuming those of OpenAI's CLIP",)
        assert_same(unstated, plain)
        (copied / "preprocessor_config.json").write_text(json.dumps({**OTHERS, "do_normalize": False}))
        bare = open_teacher(copied, CLIP)
        (copied / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
        assert bare.notes == () and bare.identity == open_teacher(copied, CLIP).identity != plain.identity
        (copied / "preprocessor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
        (copied / "processor_config.json").write_text(json.dumps({"image_processor": OTHERS}))
        nested = open_teacher(copied, CLIP)
        (copied / "processor_config.json").rename(copied / "preprocessor_config.json")
        (copied / "preprocessor_config.json").write_text(json.dumps(OTHERS))
        found = open_teacher(copied, CLIP)
        assert found.notes == ()
        assert_same(found, nested)
        own = CLIP.model_copy(update={"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)})
        raw = torch.rand(1, 3, 4, 64, 64)
        ours, theirs = (
            (raw - torch.tensor(record.mean).reshape(3, 1, 1, 1)) / torch.tensor(record.std).reshape(3, 1, 1, 1)
            for record in (CLIP, own)
        )
        expected = open_teacher(copied, own)(theirs).tokens  # nothing to undo
        torch.testing.assert_close(found(ours).tokens, expected, rtol=1e-4, atol=1e-4)
        assert not torch.equal(answer(found)[0], answer(plain)[0])

    def test_of_a_complete_clip(self, copied: Path, tmp_path: Path) -> None:
        text = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
        vision = {key: value for key, value in NARROW.items() if key != "projection_dim"}
        config = transformers.CLIPConfig(
            text_config={**text, "vocab_size": 99}, vision_config=vision, projection_dim=40
        )
        whole = transformers.CLIPModel(config)
        whole.load_state_dict(tensors_of(copied), strict=False)
        whole.save_pretrained(tmp_path / "whole")
        assert_same(open_teacher(tmp_path / "whole", CLIP), open_teacher(copied, CLIP))

    @pytest.mark.parametrize("parts", [False, True])
    def test_of_a_pickle_without_code(self, copied: Path, folder: Path, parts: bool) -> None:
        tensors = tensors_of(copied) | {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
        (copied / "model.safetensors").unlink()
        if parts:
            names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
            of = {key: names[i % 2] for i, key in enumerate(tensors)}
            for name in names:
                torch.save({key: value for key, value in tensors.items() if of[key] == name}, copied / name)
            (copied / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": of}))
        else:
            torch.save({key: value.double() for key, value in tensors.items()}, copied / "pytorch_model.bin")
        assert_same(open_teacher(copied, CLIP), open_teacher(folder, CLIP))

    @pytest.mark.parametrize(
        ("content", "save", "said"),
        [
            (Path("x"), torch.save, r"holds pathlib\.\S+,"),
            (RunsCode(), torch.save, r"holds (posix|nt)\.system,"),
            (RunsCode(), partial(torch.save, _use_new_zipfile_serialization=False), r"holds (posix|nt)\.system,"),
            (RunsCode(), partial(torch.save, pickle_protocol=4), "is a pickle of Python objects,"),
            *(
                (RunsCode(), partial(pickled, protocol=protocol), "is a pickle of Python objects,")
                for protocol in (4, 5)
            ),
        ],
    )
    def test_runs_no_code(
        self, copied: Path, capfd: pytest.CaptureFixture[str], content: object, save: Callable[..., object], said: str
    ) -> None:
        (copied / "model.safetensors").unlink()
        save({"x": content}, copied / "pytorch_model.bin")
        with pytest.raises(WeightsError, match=rf"pytorch_model\.bin: {said} which could run code; ask its author"):
            open_teacher(copied, CLIP)
        assert capfd.readouterr() == ("", "")


class TestOneFile:
    @pytest.mark.parametrize("prefix", ["", "visual.", "module.visual."])
    @pytest.mark.parametrize("inflated", [True, False])
    def test_in_openai_names(self, folder: Path, tmp_path: Path, prefix: str, inflated: bool) -> None:
        state = {prefix + key: value for key, value in in_openai_names(tensors_of(folder), inflated=inflated).items()}
        if prefix:  # beside the text tower
            state |= {"token_embedding.weight": torch.ones(9, 4), "transformer.resblocks.0.ln_1.bias": torch.ones(4)}
        torch.save(state, tmp_path / "vit_b16.pth")
        teacher = open_teacher(tmp_path / "vit_b16.pth", CLIP)
        assert isinstance(teacher, ClipTeacher)
        assert_same(teacher, open_teacher(folder, CLIP))

    def test_inside_a_released_file(self, folder: Path, tmp_path: Path) -> None:
        their = released_format(build_model(image_size=64, num_classes=0), "multimodal")["model"]
        their = {key: value for key, value in their.items() if not key.startswith("clip_teacher.")}
        clip = {f"clip_teacher.{key}": value for key, value in in_openai_names(tensors_of(folder)).items()}
        torch.save({"model": their | clip}, tmp_path / "their.pth")
        assert isinstance(open_teacher(tmp_path / "their.pth", CLIP), VideoMambaTeacher)
        found = open_teacher(tmp_path / "their.pth", CLIP, kind="clip", legacy=True)
        assert_same(found, open_teacher(folder, CLIP, legacy=True))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda s: s.pop("proj"), "has no proj; the CLIP is incomplete"),
            (lambda s: s.pop("positional_embedding"), "has no positional_embedding"),
            (lambda s: s.pop("transformer.resblocks.0.mlp.c_fc.weight"), "has no transformer.resblocks.0.mlp.c_fc"),
            (lambda s: s.pop("ln_post.bias"), "post_layernorm.bias is absent"),
            (lambda s: s.pop("transformer.resblocks.1.attn.in_proj_bias"), "self_attn.k_proj.bias is absent"),
            (lambda s: s.update({"ln_pre.bias": torch.ones(5)}), r"has shape \(5,\), expected \(128,\)"),
            (
                lambda s: s.update({"attnpool.x": torch.ones(5)}),
                "attnpool.x has shape .*, expected none, in a CLIP vision tower of this size",
            ),
            (lambda s: s.update({"conv1.weight": torch.ones(128, 3, 2, 16, 16)}), "not patches of one frame"),
            *(
                (lambda s, shape=shape: s.update({"conv1.weight": torch.ones(shape)}), "conv1.weight has shape")
                for shape in ((), (128, 3, 0, 0), (0, 3, 16, 16))
            ),
            (lambda s: s.update({"proj": torch.ones(128, 0)}), "proj has shape .128, 0., which no CLIP has"),
            (lambda s: s.update({"proj": torch.ones(128)}), "proj has shape .128,., expected 2 dimensions"),
            (
                lambda s: s.update({"transformer.resblocks.0.mlp.c_fc.weight": torch.ones(0, 128)}),
                "c_fc.weight has shape .0, 128., which no CLIP has",
            ),
            *(
                (
                    lambda s, kind=kind, shape=shape: s.update(
                        {f"transformer.resblocks.0.attn.in_proj_{kind}": torch.ones(shape)}
                    ),
                    f"in_proj_{kind} has shape .*, expected 384 rows",
                )
                for kind in ("weight", "bias")
                for shape in ((), (2, 128), (4, 128), (0, 128))
            ),
            *(
                (
                    lambda s, number=number: s.update({f"transformer.resblocks.{number}.x": torch.ones(1)}),
                    "has 4 layers, but no transformer.resblocks.3; the CLIP is incomplete",
                )
                for number in ("10000000", "9" * 5000, "02")
            ),
            (
                lambda s: s.update({"positional_embedding": torch.ones(16, 128)}),
                "positional_embedding has 15 patches, not a square",
            ),
        ],
    )
    def test_that_is_not_complete(
        self, folder: Path, tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str
    ) -> None:
        state = in_openai_names(tensors_of(folder))
        change(state)
        torch.save(state, tmp_path / "vit.pth")
        with pytest.raises(WeightsError, match=message) as caught:
            open_teacher(tmp_path / "vit.pth", CLIP)
        assert str(caught.value).startswith(f"{tmp_path / 'vit.pth'}: ") and "\n" not in str(caught.value)


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def with_text(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def with_tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        tensors = tensors_of(folder)
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return rewrite


def index_of(name: str) -> str:
    return json.dumps({"weight_map": {"a": name}})


GIVE = "give a CLIPModel or CLIPVisionModelWithProjection of transformers"
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("config.json"), f"copied: has no config.json; {GIVE}"),
        (without("model.safetensors"), rf"copied: has no weights \(model.safetensors or pytorch_model.bin\); {GIVE}"),
        (with_text("config.json", "{"), "config.json: cannot be read .it is not JSON.; download it again"),
        (with_text("config.json", "[]"), "config.json: must be an object"),
        (lambda f: configure(f, model_type="siglip"), f"is a model of type 'siglip', not a CLIP .*; {GIVE}"),
        (lambda f: configure(f, model_type="clip_text_model"), "is a model of type 'clip_text_model'"),
        (lambda f: configure(f, hidden_size="wide"), "config.json: hidden_size: Input should be a valid integer"),
        (lambda f: configure(f, hidden_act="sine"), "no CLIP has this config.json"),
        (lambda f: configure(f, num_attention_heads=3), "no CLIP has this config.json"),
        *(
            (
                lambda f, number=number: configure(f, num_hidden_layers=number),
                f"copied: has 3 layers, num_hidden_layers is {number}; the file is incomplete, or does not fit its config",
            )
            for number in (4, 10_000_000)
        ),
        (lambda f: configure(f, image_size=8), "config.json: image_size 8 is less than patch_size 16"),
        (lambda f: configure(f, layer_norm_eps=float("inf")), "config.json: layer_norm_eps: Input should be a finite"),
        (lambda f: configure(f, num_hidden_layers=2), "layers.2.* expected none, in a CLIP vision tower"),
        (lambda f: configure(f, hidden_size=64), r"has shape .*, expected"),
        (with_tensors(lambda t: t.pop("visual_projection.weight")), "has no visual_projection.weight"),
        *(
            (
                with_tensors(lambda t, shape=shape: t.update({"visual_projection.weight": torch.ones(shape)})),
                "visual_projection.weight has shape .*, expected 2 dimensions",
            )
            for shape in ((), (40,))
        ),
        (with_tensors(lambda t: t.pop("vision_model.pre_layrnorm.bias")), "pre_layrnorm.bias is absent"),
        (with_text("model.safetensors", "<html>"), "model.safetensors: is a page of HTML"),
        (with_text("preprocessor_config.json", '{"image_mean": [1], "image_std": [1]}'), "image_mean must be three"),
        (
            with_text("preprocessor_config.json", '{"image_mean": [1, 1, 1], "image_std": [1, 0, 1]}'),
            "image_std must be positive",
        ),
        *(
            (
                with_text("preprocessor_config.json", json.dumps(OTHERS | {key: [0.5, 0.5, value]})),
                f"preprocessor_config.json: {key} must be three finite numbers, got .{{0,70}}$",
            )
            for key in OTHERS
            for value in (float("nan"), float("inf"), 10**400, True, "1", None)
        ),
        (
            with_text("preprocessor_config.json", '{"do_rescale": false}'),
            "preprocessor_config.json: do_rescale false: ",
        ),
        *(
            (
                lambda f, name=name: (without("model.safetensors")(f), with_text(INDEX, index_of(name))(f)),
                "index.json: does not list files of its folder",
            )
            for name in ("a\0b", "\ud800", "a\nb", "..", "")
        ),
        (
            lambda f: (without("model.safetensors")(f), with_text(INDEX, '{"weight_map": {"a": "../b"}}')(f)),
            "index.json: does not list files of its folder",
        ),
        (
            lambda f: (without("model.safetensors")(f), with_text(INDEX, '{"weight_map": {"a": "b"}}')(f)),
            "b: no such file",
        ),
    ],
)
def test_a_folder_that_is_no_clip_is_one_line(copied: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(copied)
    with pytest.raises(VideoMambaError, match=message) as caught:
        open_teacher(copied, CLIP)
    assert str(copied) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_transformers_needs_its_folder(folder: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"model\.safetensors: is one file of a CLIP of transformers; give its folder"
    ):
        open_teacher(folder / "model.safetensors", CLIP)


def test_names_that_are_nothing(tmp_path: Path) -> None:
    for name, kind, message in (
        ("videomamba_tini", "auto", "no such file and no released weights of that name"),
        ("vit_b16", "clip", "vit_b16: no such file or folder; give a CLIP's folder, file, or name on the Hugging"),
        ("runs/best.pth", "auto", r"runs/best.pth: no such file$"),
        ("x" * 300, "auto", "cannot be opened"),
    ):
        with pytest.raises(WeightsError, match=message) as caught:
            open_teacher(name, CLIP, kind=kind)
        assert "\n" not in str(caught.value)
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth: has no vision tower of a CLIP"):
        open_teacher(tmp_path / "a.pth", CLIP, kind="clip")


class TestHub:
    NAME = "openai/clip-vit-base-patch16"

    def test_offline_says_what_to_put_where(self, no_network: Path) -> None:
        with pytest.raises(
            WeightsError, match="no such file or folder, not in the hub's cache, and the hub cannot"
        ) as e:
            open_teacher(self.NAME, CLIP)
        assert str(e.value).startswith(self.NAME) and "into a folder and give that" in str(e.value)
        assert "\n" not in str(e.value)

    @pytest.mark.parametrize("parts", [False, True])
    def test_is_fetched_once(
        self,
        serve_hub: Callable[[Mapping[str, bytes]], None],
        folder: Path,
        parts: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        content = {"config.json": (folder / "config.json").read_bytes(), "preprocessor_config.json": b"{}"}
        weights = (folder / "model.safetensors").read_bytes()
        if parts:
            weight_map = dict.fromkeys(tensors_of(folder), "model-00001-of-00001.safetensors")
            content[INDEX] = json.dumps({"weight_map": weight_map}).encode()
            content["model-00001-of-00001.safetensors"] = weights
        else:
            content["model.safetensors"] = weights
        serve_hub({f"{self.NAME}/resolve/main/{name}": value for name, value in content.items()})
        teacher = open_teacher(self.NAME, CLIP)
        assert teacher.name == self.NAME
        assert_same(teacher, open_teacher(folder, CLIP))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert_same(teacher, open_teacher(self.NAME, CLIP, kind="clip"))

    def test_that_does_not_have_it(self, serve_hub: Callable[[Mapping[str, bytes]], None]) -> None:
        serve_hub({f"{self.NAME}/resolve/main/README.md": b"clip"})
        with pytest.raises(WeightsError, match=f"{self.NAME}: has no config.json"):
            open_teacher(self.NAME, CLIP)
        with pytest.raises(WeightsError, match="nobody/nothing: no such file or folder, and no such model") as caught:
            open_teacher("nobody/nothing", CLIP)
        assert "\n" not in str(caught.value)


def test_without_transformers_it_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(VideoMambaError, match=r"needs transformers: pip install 'videomamba\[text\]'$") as caught:
        open_teacher(folder, CLIP)
    assert str(caught.value).startswith(f"teacher {folder}: ")


def test_only_a_clip_needs_transformers() -> None:
    script = (
        "import sys, videomamba, videomamba.weights.teachers as teachers\n"
        "from videomamba.schema import Preprocess\n"
        "teachers.open_teacher('videomamba_micro_synthetic', Preprocess(num_frames=16))\n"
        "print('transformers' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "False"
