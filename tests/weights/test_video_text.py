"""Models of video and text in every layout of the original's files, and in ours: every tensor is accounted for."""

from __future__ import annotations

import argparse
import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.models.networks import build_model
from tests.weights.video_texts import CONFIG, TOKENIZER, WORDS, build_video_text, clip_teacher, in_original_names
from videomamba import Embedder
from videomamba.cli import main
from videomamba.data.text.tokenizer import Tokenizer
from videomamba.models.config import VideoMambaConfig
from videomamba.models.video_questions import VideoQuestions
from videomamba.models.video_text import VideoText, VideoTextConfig
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, VideoMambaError, WeightsError
from videomamba.weights.bundle import read_bundle_metadata, save_bundle
from videomamba.weights.load import load_weights
from videomamba.weights.pretrained import convert, open_pretrained
from videomamba.weights.read import read_weights, weights_content
from videomamba.weights.text_bundle import TEXT_FORMATS
from videomamba.weights.text_convert import convert_video_text
from videomamba.weights.text_names import content_of_keys, infer_text_config, text_names
from videomamba.weights.video_text import (
    PretrainedVideoText,
    is_video_text,
    load_video_text,
    open_questions,
    open_video_text,
    save_original_video_text,
    save_questions,
    save_video_text,
)
from videomamba.weights.zoo import FOLDER_VARIABLE

PREPROCESS = Preprocess(
    num_frames=4, image_size=(32, 32), resize="stretch", sampling="segments", interpolation="bicubic", antialias=False
)
INFO = {"task": "video-text", "steps": 7}


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    return tmp_path / "vocab.txt"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    model = build_video_text()
    return save_video_text(
        tmp_path / "model.safetensors", model, preprocess=PREPROCESS, tokenizer=TOKENIZER, max_length=12, info=INFO
    )


def assert_same(found: VideoText, expected: VideoText) -> None:
    theirs = expected.state_dict()
    assert found.state_dict().keys() == theirs.keys()
    for key, value in found.state_dict().items():
        assert torch.equal(value, theirs[key]), key


def assert_accounted(opened: PretrainedVideoText, tensors: dict[str, Tensor]) -> None:
    report = opened.report
    assert sorted(report.model_keys) == sorted(opened.model.state_dict())
    assert sorted(report.file_keys) == sorted(tensors)
    assert all(entry.note for entry in report.ignored) and not report.missing and not report.unexpected


def spelled_out(*, downstream: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the released files, written apart from the code: section 5.2 of the specification."""
    d, e = 576, 1152
    yield "temp", ()
    for name, rows, columns in (("vision_proj", 512, d), ("text_proj", 512, 768), ("itm_head", 2, 768)):
        yield from ((f"{name}.weight", (rows, columns)), (f"{name}.bias", (rows,)))
    v = "vision_encoder."
    yield from ((v + "cls_token", (1, 1, d)), (v + "pos_embed", (1, 197, d)), (v + "temporal_pos_embedding", (1, 8, d)))
    yield from ((v + "patch_embed.proj.weight", (d, 3, 1, 16, 16)), (v + "patch_embed.proj.bias", (d,)))
    for i in range(32):
        layer = f"{v}layers.{i}."
        yield layer + "norm.weight", (d,)
        yield from ((layer + "mixer.in_proj.weight", (2 * e, d)), (layer + "mixer.out_proj.weight", (d, e)))
        for b in ("", "_b"):
            yield from ((f"{layer}mixer.conv1d{b}.weight", (e, 1, 4)), (f"{layer}mixer.conv1d{b}.bias", (e,)))
            yield f"{layer}mixer.x_proj{b}.weight", (68, e)
            yield from ((f"{layer}mixer.dt_proj{b}.weight", (e, 36)), (f"{layer}mixer.dt_proj{b}.bias", (e,)))
            yield from ((f"{layer}mixer.A{b}_log", (e, 16)), (f"{layer}mixer.D{b}", (e,)))
    yield from ((v + "norm.weight", (d,)), (v + "pool_norm.weight", (d,)), (v + "pool_norm.bias", (d,)))
    if not downstream:
        yield from ((v + "clip_decoder.0.head.weight", (512, d)), (v + "clip_decoder.0.head.bias", (512,)))
        yield from ((v + "clip_decoder.0.norm.weight", (512,)), (v + "clip_decoder.0.norm.bias", (512,)))
    t = "text_encoder." if downstream else "text_encoder.bert."
    for name, rows in (("word", 30522), ("position", 512), ("token_type", 2)):
        yield f"{t}embeddings.{name}_embeddings.weight", (rows, 768)
    yield from norm(t + "embeddings.LayerNorm")
    yield t + "embeddings.position_ids", (1, 512)
    for i in range(12):
        layer = f"{t}encoder.layer.{i}."
        yield from attention(layer + "attention", 768)
        if i >= 9:
            yield from attention(layer + "crossattention", d)
        yield from linear(layer + "intermediate.dense", 3072, 768)
        yield from linear(layer + "output.dense", 768, 3072)
        yield from norm(layer + "output.LayerNorm")
    if not downstream:
        head = "text_encoder.cls.predictions."
        yield head + "bias", (30522,)
        yield from linear(head + "transform.dense", 768, 768)
        yield from norm(head + "transform.LayerNorm")
        yield from linear(head + "decoder", 30522, 768)
        yield from (
            (f"clip_teacher.{k}", shape) for k, shape in clip_teacher(width=768, depth=12, patches=196, out=512)
        )


def linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f"{name}.weight", (rows, columns)), (f"{name}.bias", (rows,)))


def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f"{name}.weight", (768,)), (f"{name}.bias", (768,)))


def attention(name: str, memory: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from linear(f"{name}.self.query", 768, 768)
    yield from linear(f"{name}.self.key", 768, memory)
    yield from linear(f"{name}.self.value", 768, memory)
    yield from linear(f"{name}.output.dense", 768, 768)
    yield from norm(f"{name}.output.LayerNorm")


class TestReleasedNames:
    """Of a model of full size, which has no values here."""

    FULL = VideoTextConfig(
        video=VideoMambaConfig(num_classes=0, dim=576, depth=32, num_frames=8), teacher_dim=512, legacy=True
    )

    def test_their_numbers(self) -> None:
        names = [name for name, _ in spelled_out(downstream=False)]
        parts = ("clip_teacher.", "vision_encoder.", "text_encoder.")
        assert len(names) == len(set(names)) == 950
        assert [sum(name.startswith(part) for name in names) for part in parts] == [152, 556, 235]

    @pytest.mark.parametrize("downstream", [False, True])
    def test_names_and_shapes(self, downstream: bool) -> None:
        theirs = dict(spelled_out(downstream=downstream))
        changes = {"words": False, "teacher_dim": 0, "legacy": False} if downstream else {}
        with torch.device("meta"):
            model = VideoText(self.FULL.model_copy(update=changes))
            tensors = {name: torch.empty(shape) for name, shape in theirs.items()}
        parts = ("clip_teacher.", "text_encoder.cls.predictions.decoder.")
        expected = {
            name: theirs[key]
            for name, key in text_names(theirs).items()
            if not name.startswith(parts) and not name.endswith(".position_ids")
        }
        ours = {text_names([key]).popitem()[0]: tuple(value.shape) for key, value in model.state_dict().items()}
        assert ours == expected
        found = infer_text_config({name: tensors[key] for name, key in text_names(theirs).items()})
        assert VideoTextConfig.model_validate({**found, "legacy": not downstream}) == model.config
        assert content_of_keys(theirs) == "video-text"


class TestOriginal:
    @pytest.mark.parametrize("teacher", [True, False])
    @pytest.mark.parametrize("wrapper", ["model", "module", ""])
    def test_any_container(self, tmp_path: Path, vocabulary: Path, wrapper: str, teacher: bool) -> None:
        source = build_video_text()
        tensors = {key: v.bfloat16() for key, v in in_original_names(source, teacher=teacher).items()}
        training = {"optimizer": {"state": {0: torch.ones(3)}}, "epoch": 3, "global_step": 70}
        path = tmp_path / "their.pth"
        torch.save({wrapper: tensors, **training} if wrapper else tensors, path)
        assert is_video_text(path)
        opened = open_video_text(path, tokenizer=vocabulary)
        assert_same(opened.model, source.bfloat16().float())
        assert_accounted(opened, tensors)
        assert opened.model.config == CONFIG.model_copy(
            update={"text": CONFIG.text.model_copy(update={"dropout": 0.1})}
        )
        assert not opened.model.training and opened.max_length == 20 and opened.tokenizer.vocabulary == WORDS
        assert opened.preprocess == PREPROCESS and "1 heads of attention" in opened.assumed
        ignored = {(entry.file_key, entry.note) for entry in opened.report.ignored}
        word = "text_encoder.bert.embeddings.word_embeddings.weight"
        assert ("text_encoder.cls.predictions.decoder.weight", f"the same as {word}") in ignored
        told = "the teacher of pretraining, which open_teacher reads"
        assert (("clip_teacher.proj", told) in ignored) is teacher

    @pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
    def test_after_fine_tuning(self, tmp_path: Path, vocabulary: Path, prefix: str) -> None:
        source = build_video_text(words=False, teacher_dim=0, legacy=False)
        tensors = {prefix + key: v for key, v in in_original_names(source, downstream=True).items()}
        torch.save({"model": tensors}, tmp_path / "tuned.pth")
        opened = open_video_text(tmp_path / "tuned.pth", tokenizer=vocabulary)
        assert_same(opened.model, source)
        assert_accounted(opened, tensors)
        assert not opened.model.config.words

    def test_the_settings_of_a_training_checkpoint_run_no_code(
        self, tmp_path: Path, vocabulary: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = types.ModuleType("utils.easydict")
        easy = type("EasyDict", (dict,), {"__module__": "utils.easydict", "__qualname__": "EasyDict"})
        module.EasyDict = easy  # type: ignore[attr-defined]
        settings = easy(lr=1e-4, inputs=easy(image_res=224))
        settings.lr = 1e-4
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "utils", types.ModuleType("utils"))
            patch.setitem(sys.modules, "utils.easydict", module)
            content = {"model": in_original_names(build_video_text()), "config": settings, "args": argparse.Namespace()}
            torch.save(content, tmp_path / "ckpt_latest.pth")
        assert is_video_text(tmp_path / "ckpt_latest.pth")
        assert_same(open_video_text(tmp_path / "ckpt_latest.pth", tokenizer=vocabulary).model, build_video_text())
        assert "utils.easydict" not in sys.modules

    def test_of_one_frame_it_sees_pictures_as_before(self, tmp_path: Path, vocabulary: Path) -> None:
        source, picture = build_video_text(), torch.randn(2, 3, 1, 32, 32)
        torch.save(in_original_names(source), tmp_path / "their.pth")
        opened = open_video_text(tmp_path / "their.pth", num_frames=1, tokenizer=vocabulary)
        assert "a picture has no place in time" in [entry.note for entry in opened.report.ignored]
        with torch.no_grad():
            found, expected = opened.model.encode_video(picture), source.eval().encode_video(picture)
            tower = Embedder.from_pretrained(tmp_path / "their.pth", num_frames=1).model.forward_tokens(picture)
        assert torch.equal(found.pooled, expected.pooled)
        torch.testing.assert_close(tower[:, 1:], expected.memory)

    def test_another_length_and_size(self, tmp_path: Path, vocabulary: Path) -> None:
        torch.save(in_original_names(build_video_text()), tmp_path / "their.pth")
        opened = open_video_text(tmp_path / "their.pth", num_frames=12, image_size=(32, 64), tokenizer=vocabulary)
        assert opened.preprocess.num_frames == 12 and opened.preprocess.image_size == (32, 64)
        assert [str(entry) for entry in opened.report.resized] == [
            "vision_encoder.pos_embed (1, 5, 32) -> (1, 9, 32) (2x2 -> 2x4)",
            "vision_encoder.temporal_pos_embedding (1, 4, 32) -> (1, 12, 32)",
        ]
        table = build_video_text().vision_encoder.temporal_pos_embedding
        expected = torch.nn.functional.interpolate(table.mT, size=12, mode="linear", align_corners=False).mT
        torch.testing.assert_close(opened.model.vision_encoder.temporal_pos_embedding, expected)
        video = torch.randn(1, 3, 12, 32, 64)
        assert opened.model.encode_video(video).pooled.shape == (1, 12, 32)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda t: t.pop("text_encoder.bert.encoder.layer.1.output.dense.bias"),
                "1 tensors are missing: text_encoder.bert.encoder.layer.1.output.dense.bias",
            ),
            (
                lambda t: t.pop("vision_encoder.layers.1.mixer.D"),
                "video tower: 1 tensors are missing: layers.1.mixer.D",
            ),
            (
                lambda t: t.pop("vision_proj.weight"),
                "no vision_proj.weight; these are not weights of a video-text model",
            ),
            (lambda t: t.pop("temp"), "1 tensors are missing: temp"),
            (
                lambda t: t.pop("text_encoder.cls.predictions.bias"),
                "1 tensors are missing, the head that predicts words: text_encoder.cls.predictions.bias",
            ),
            (
                lambda t: t.update({"text_encoder.bert.encoder.layer.7.output.dense.bias": torch.ones(64)}),
                "no text_encoder.bert.encoder.layer.3; the weights are incomplete",
            ),
            (lambda t: t.update({"audio_proj.weight": torch.ones(2)}), "no place in the model: audio_proj.weight"),
            (
                lambda t: t.update({"vision_encoder.layers.0.mixer.E": torch.ones(2)}),
                "video tower: 1 tensors have no place in the model: vision_encoder.layers.0.mixer.E",
            ),
            (
                lambda t: t.update({"text_proj.weight": torch.ones(24, 60)}),
                r"1 tensors have another shape: text_proj.weight \(24, 60\) instead of \(24, 64\)",
            ),
            (
                lambda t: t.update({"vision_encoder.norm.weight": torch.ones(31)}),
                r"video tower: norm.weight has shape \(31,\) instead of \(32,\)",
            ),
            (
                lambda t: t.update({"text_encoder.cls.predictions.decoder.bias": torch.zeros(20)}),
                "decoder.bias is not the same as text_encoder.cls.predictions.bias",
            ),
            (
                lambda t: t.update({"itm_head.bias": torch.ones(2, dtype=torch.int8)}),
                "itm_head.bias is int8, not floating point; give the weights before quantization",
            ),
            (
                lambda t: t.update({"module.temp": torch.ones(())}),
                "temp and module.temp are both temp; keep only one",
            ),
        ],
    )
    def test_a_difference_is_one_line(
        self, tmp_path: Path, vocabulary: Path, change: Callable[[dict[str, Tensor]], object], message: str
    ) -> None:
        tensors = in_original_names(build_video_text())
        change(tensors)
        torch.save({"model": tensors}, tmp_path / "their.pth")
        with pytest.raises(WeightsError, match=message) as caught:
            open_video_text(tmp_path / "their.pth", tokenizer=vocabulary)
        assert str(caught.value).startswith(f"{tmp_path / 'their.pth'}: ") and "\n" not in str(caught.value)

    def test_a_vocabulary_of_another_size(self, tmp_path: Path) -> None:
        torch.save(in_original_names(build_video_text()), tmp_path / "their.pth")
        (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS[:-1]))
        with pytest.raises(WeightsError, match=r"has 19 words, the text tower of .*their\.pth 20; give the vocabulary"):
            open_video_text(tmp_path / "their.pth", tokenizer=tmp_path)

    def test_its_vocabulary_is_that_of_bert(self, no_network: Path, tmp_path: Path) -> None:
        """From the cache of the hub, under either of the model's names."""
        torch.save(in_original_names(build_video_text()), tmp_path / "their.pth")
        with pytest.raises(WeightsError, match=r"bert-base-uncased: .* cannot be reached; download vocab.txt of"):
            open_video_text(tmp_path / "their.pth")
        for owner in ("google-bert--", ""):
            snapshot = no_network / f"models--{owner}bert-base-uncased" / "snapshots" / "abc"
            (snapshot.parents[1] / "refs").mkdir(parents=True)
            snapshot.mkdir(parents=True)
            (snapshot.parents[1] / "refs" / "main").write_text("abc")
            (snapshot / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
            assert open_video_text(tmp_path / "their.pth").tokenizer.vocabulary == WORDS
            (snapshot / "vocab.txt").unlink()

    def test_a_released_name(self, tmp_path: Path, vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
        source = build_video_text(video={"num_frames": 8, "image_size": (224, 224)})
        torch.save({"model": in_original_names(source)}, tmp_path / "videomamba_m16_25M_f8_res224.pth")
        opened = open_video_text("videomamba_middle_25m_f8_224", tokenizer=vocabulary)
        assert_same(opened.model, source)
        assert opened.name == "videomamba_middle_25m_f8_224" and opened.assumed == ""
        assert opened.preprocess.interpolation == "bicubic" and "25M pairs" in str(opened.info["dataset"])

    @pytest.mark.parametrize("words", [True, False])
    def test_written_again(self, tmp_path: Path, vocabulary: Path, words: bool) -> None:
        source = build_video_text(words=words)
        path = save_original_video_text(source, tmp_path / "ours.pth")
        assert_same(open_video_text(path, tokenizer=vocabulary).model, source)
        written = torch.load(path, weights_only=True)["model"]
        if words:
            theirs = in_original_names(source, teacher=False)
            assert written.keys() == {key for key in theirs if not key.endswith("position_ids")}
        with pytest.raises(WeightsError, match="the original has no scan_order='temporal_first'"):
            save_original_video_text(build_video_text(video={"scan_order": "temporal_first"}), tmp_path / "x.pth")


class TestBundle:
    def test_comes_back(self, bundle: Path) -> None:
        opened = open_video_text(bundle)
        assert_same(opened.model, build_video_text())
        assert opened.model.config == CONFIG and opened.preprocess == PREPROCESS and opened.max_length == 12
        assert opened.tokenizer.vocabulary == WORDS and opened.info == {**INFO, "max_length": 12}
        assert opened.assumed == "" and opened.knows == "" and is_video_text(bundle)
        assert len(opened.report.loaded) == len(opened.model.state_dict()) == len(opened.report.entries)

    def test_another_vocabulary_is_refused(self, bundle: Path, vocabulary: Path) -> None:
        assert open_video_text(bundle, tokenizer=vocabulary).tokenizer.vocabulary == WORDS
        vocabulary.write_text("".join(f"{word}\n" for word in (*WORDS[:-1], "other")))
        with pytest.raises(WeightsError, match=r"vocab.txt: is not the vocabulary of .*model.safetensors"):
            open_video_text(bundle, tokenizer=vocabulary)

    def test_what_does_not_fit_is_not_written(self, tmp_path: Path) -> None:
        model, path = build_video_text(), tmp_path / "x.safetensors"
        for changes, message in (
            ({"preprocess": Preprocess()}, "do not fit the model"),
            ({"tokenizer": Tokenizer(WORDS[:-1])}, "19 words do not fit a model of 20"),
            ({"max_length": 21}, "max_length must be 3 to 20 tokens, got 21"),
            ({"info": {"x": object()}}, "info must be JSON"),
        ):
            fields = {"preprocess": PREPROCESS, "tokenizer": TOKENIZER, "max_length": 12, **changes}
            with pytest.raises(ValueError, match=message):
                save_video_text(path, model, **fields)  # type: ignore[arg-type]
        with pytest.raises(WeightsError, match=r"end its name in \.safetensors"):
            save_video_text(tmp_path / "x.pth", model, preprocess=PREPROCESS, tokenizer=TOKENIZER, max_length=12)
        assert not list(tmp_path.iterdir())


def rewrite(path: Path, change: Callable[[dict[str, str], dict[str, Tensor]], object]) -> None:
    """Saves the bundle at `path` again with its metadata or tensors changed."""
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    change(metadata, tensors)
    save_file(tensors, path, metadata=metadata)


def edited(key: str, **changes: object) -> Callable[[dict[str, str], dict[str, Tensor]], object]:
    return lambda metadata, _: metadata.update({key: json.dumps({**json.loads(metadata[key]), **changes})})


class TestDamaged:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda m, _: m.pop("config"), "metadata 'config' is absent"),
            (lambda m, _: m.update(config="{"), "metadata 'config' is not JSON"),
            (edited("config", dept=3), "metadata 'config.dept': Extra inputs are not permitted"),
            (edited("config", video={"dim": "wide"}), "metadata 'config.video.dim': Input should be a valid integer"),
            (edited("config", video={**CONFIG.video.model_dump(), "dim": 64}), "says dim = 64, the tensors say 32"),
            (edited("config", embed_dim=25), r"4 tensors have another shape: vision_proj.weight \(24, 32\)"),
            (edited("config", text={"heads": 5}), "metadata 'config.text': .*must be a multiple of heads"),
            (lambda m, _: m.pop("preprocess"), "metadata 'preprocess' is absent"),
            (lambda m, _: m.pop("vocabulary"), "metadata 'vocabulary' is absent"),
            (lambda m, _: m.update(vocabulary='["a", 1]'), "metadata 'vocabulary' must be a list of words"),
            (lambda m, _: m.update(vocabulary='["a"]'), "metadata 'vocabulary' has 1 words for 20"),
            (lambda m, _: m.update(vocabulary=json.dumps(["a"] * 20)), "has 'a' more than once"),
            (lambda m, _: m.update(info="[]"), "metadata 'info' must be an object"),
            (lambda m, _: m.pop("info"), "metadata 'info.max_length' must be 3 to 20 tokens, got None"),
            (edited("info", max_length=21), "metadata 'info.max_length' must be 3 to 20 tokens, got 21"),
            (edited("info", max_length="12"), "metadata 'info.max_length' must be 3 to 20 tokens, got '12'"),
            (lambda m, _: m.update(format="videomamba-text-2"), "metadata 'format' is 'videomamba-text-2'.*upgrade"),
            (lambda _, t: t.pop("temp"), "1 tensors are missing: temp"),
            (lambda _, t: t.update(more=torch.ones(1)), "1 tensors have no place in the model: more"),
            (lambda m, _: m.pop("format"), "bert-base-uncased"),  # plain tensors need a vocabulary
        ],
    )
    def test_is_one_line(
        self,
        bundle: Path,
        no_network: Path,
        change: Callable[[dict[str, str], dict[str, Tensor]], object],
        message: str,
    ) -> None:
        rewrite(bundle, change)
        with pytest.raises(VideoMambaError, match=message) as caught:
            open_video_text(bundle)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("size", [0, 7, 200, 5000])
    def test_a_part_of_it(self, bundle: Path, size: int) -> None:
        bundle.write_bytes(bundle.read_bytes()[:size])
        for call in (open_video_text, is_video_text):
            with pytest.raises(WeightsError, match=f"{bundle}: not a readable weights file"):
                call(bundle)

    def test_code_does_not_run(self, tmp_path: Path) -> None:
        torch.save({"model": in_original_names(build_video_text()), "config": Path("x")}, tmp_path / "x.pth")
        for call in (open_video_text, is_video_text):
            with pytest.raises(WeightsError, match=r"holds pathlib\.\S+, which could run code; ask its author"):
                call(tmp_path / "x.pth")


class TestStart:
    """`load_video_text` into a model that exists."""

    def test_of_the_second_stage(self, bundle: Path) -> None:
        model = build_video_text(seed=1, teacher_dim=0, legacy=False, video={"num_frames": 8, "drop_path": 0.25})
        report = load_video_text(model, bundle, tokenizer=TOKENIZER)
        source = build_video_text()
        assert torch.equal(model.text_proj.weight, source.text_proj.weight)
        assert [entry.model_key for entry in report.resized] == ["vision_encoder.temporal_pos_embedding"]
        assert {entry.note for entry in report.ignored} == {"the model is not compared with a teacher"}
        assert len(report.ignored) == 4

    def test_of_fine_tuning_without_the_head_for_words(self, bundle: Path) -> None:
        model = build_video_text(seed=1, words=False)
        report = load_video_text(model, bundle)
        ours = model.state_dict()
        assert {entry.note for entry in report.ignored} == {"the model predicts no words"}
        assert torch.equal(
            ours["text_encoder.embeddings.word_embeddings.weight"],
            build_video_text().state_dict()["text_encoder.bert.embeddings.word_embeddings.weight"],
        )

    def test_what_may_be_absent_stays(self, tmp_path: Path) -> None:
        tensors = in_original_names(build_video_text(), downstream=True)
        model, before = build_video_text(seed=1), build_video_text(seed=1).state_dict()
        with pytest.raises(WeightsError, match=r"video tower: 4 tensors are missing: .*clip_decoder"):
            load_video_text(model, tensors)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        report = load_video_text(
            model, {"model": tensors}, allow_missing=["text_encoder.cls.*", "vision_encoder.clip_decoder.*"]
        )
        assert len(report.missing) == 9
        for entry in report.missing:
            assert torch.equal(model.state_dict()[entry.model_key or ""], before[entry.model_key or ""])

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"video": {"scan_order": "temporal_first"}}, "has video.scan_order='spatial_first', the model has"),
            ({"text": {"heads": 2}}, "has text.heads=1, the model has 2"),
            ({"pool": "avg"}, r"has pool='cls\+avg', the model has 'avg'"),
        ],
    )
    def test_another_meaning_is_refused(self, bundle: Path, fields: dict[str, object], message: str) -> None:
        with pytest.raises(WeightsError, match=message):
            load_video_text(build_video_text(**fields), bundle)

    def test_another_vocabulary_is_refused(self, bundle: Path) -> None:
        with pytest.raises(WeightsError, match="has another vocabulary than the model"):
            load_video_text(build_video_text(), bundle, tokenizer=Tokenizer((*WORDS[:-1], "other")))

    def test_wider_says_both_sizes(self, bundle: Path) -> None:
        with pytest.raises(WeightsError, match="it holds dim 32, the model has dim 64; video tower: "):
            load_video_text(build_video_text(video={"dim": 64}), bundle)


class TestOtherCommands:
    """The video tower of a video-text model is a network like any other; the model itself has no classes."""

    @pytest.fixture(params=["bundle", "original"])
    def path(self, request: pytest.FixtureRequest, bundle: Path, tmp_path: Path) -> Path:
        if request.param == "bundle":
            return bundle
        torch.save({"model": in_original_names(build_video_text())}, tmp_path / "their.pth")
        return tmp_path / "their.pth"

    def test_features(self, path: Path) -> None:
        embedder = Embedder.from_pretrained(path)
        tower, video = build_video_text().vision_encoder, torch.randn(1, 3, 4, 32, 32)
        with torch.no_grad():
            expected = tower.tokens(video)[:, 0]
            torch.testing.assert_close(embedder.model.forward_features(video), expected)
        assert embedder.dim == 32 and embedder.preprocess == PREPROCESS

    def test_predictions_are_refused(self, path: Path) -> None:
        with pytest.raises(WeightsError, match="is a video-text model, without classes: `videomamba text retrieval`"):
            open_pretrained(path)

    def test_an_ordinary_file_is_refused(self, tmp_path: Path) -> None:
        path = save_bundle(tmp_path / "a.safetensors", build_model(), Preprocess(num_frames=4, image_size=(32, 32)))
        assert not is_video_text(path)
        with pytest.raises(
            WeightsError, match="is a network of videos without a text tower, which `videomamba predict`"
        ):
            open_video_text(path)

    def test_its_tower_as_a_bundle(self, path: Path, tmp_path: Path) -> None:
        out = tmp_path / "tower.safetensors"
        convert(path, out)
        assert not is_video_text(out) and read_bundle_metadata(out).text is None
        assert torch.equal(
            open_pretrained(out, needs_head=False).model.norm_f.weight, build_video_text().vision_encoder.norm_f.weight
        )

    def test_starts_a_classifier(self, bundle: Path) -> None:
        model = VideoMamba(CONFIG.video.model_copy(update={"num_classes": 3}))
        report = load_weights(model, bundle, head="replace")
        assert len(report.replaced) == 2 and not report.missing
        assert torch.equal(model.norm_f.weight, build_video_text().vision_encoder.norm_f.weight)

    def test_metadata_of_its_tower(self, bundle: Path) -> None:
        metadata = read_bundle_metadata(bundle)
        assert metadata.config == CONFIG.video and metadata.labels == () and metadata.info["steps"] == 7
        assert metadata.text is not None and metadata.text.vocabulary == WORDS
        assert read_weights(bundle).content == "video-text" and set(TEXT_FORMATS) >= {"videomamba-text-1"}


class TestConvert:
    def test_released_to_bundle_and_back(self, tmp_path: Path, vocabulary: Path) -> None:
        tensors = {key: value.bfloat16() for key, value in in_original_names(build_video_text()).items()}
        torch.save({"model": tensors}, tmp_path / "their.pth")
        out, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
        report = convert_video_text(tmp_path / "their.pth", out, tokenizer=vocabulary)
        assert any("the teacher of pretraining" in entry.note for entry in report.ignored)
        found = load_file(out)
        assert {value.dtype for value in found.values()} == {torch.bfloat16}
        assert torch.equal(found["text_proj.weight"], tensors["text_proj.weight"])
        opened = open_video_text(out)
        assert_same(opened.model, build_video_text().bfloat16().float())
        assert opened.info == {"converted_from": str(tmp_path / "their.pth"), "max_length": 20}
        convert_video_text(out, back)
        written = torch.load(back, weights_only=True)["model"]
        assert all(torch.equal(value, tensors[key]) for key, value in written.items())

    def test_command(self, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out, tower = tmp_path / "out.safetensors", tmp_path / "tower.safetensors"

        def run(*options: object) -> int:
            with pytest.raises(SystemExit) as stopped:
                main(["convert", *map(str, options)])
            return int(stopped.value.code or 0)

        assert run(bundle, out, "--to", "text", "--frames", 6) == 0
        assert capsys.readouterr().out == f"{out}\n" and open_video_text(out).preprocess.num_frames == 6
        assert run(bundle, tower) == 0
        assert "is the video tower alone; --to text keeps the text tower too" in capsys.readouterr().err
        for options, message in (
            ([str(tower), str(out), "--to", "text", "--overwrite"], "is a network of videos without a text tower"),
            ([str(bundle), str(out), "--to", "text"], "exists; choose another name"),
            ([str(bundle), str(tmp_path / "x"), "--to", "text"], "end its name in .safetensors for a bundle or .pth"),
            ([str(bundle), str(out), "--vocabulary", "x"], "--vocabulary: is for --to text"),
            ([str(bundle), str(out), "--to", "text", "--labels", "x.txt"], "a video-text model has no classes"),
        ):
            assert run(*options) == 1
            assert message in capsys.readouterr().err


class TestQuestions:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        torch.manual_seed(0)
        model = VideoQuestions.from_video_text(build_video_text())
        return save_questions(
            tmp_path / "answers.safetensors", model, preprocess=PREPROCESS, tokenizer=TOKENIZER, info={"answers": ["a"]}
        )

    def test_come_back(self, path: Path) -> None:
        torch.manual_seed(0)
        source = VideoQuestions.from_video_text(build_video_text()).state_dict()
        opened = open_questions(path)
        found = opened.model.state_dict()
        assert found.keys() == source.keys() and all(torch.equal(found[key], source[key]) for key in found)
        assert opened.info == {"answers": ["a"]} and opened.tokenizer.vocabulary == WORDS
        assert opened.preprocess == PREPROCESS and not opened.model.training and opened.assumed == opened.knows == ""
        assert sorted(opened.report.model_keys) == sorted(opened.report.file_keys) == sorted(found)

    def test_at_another_length(self, path: Path) -> None:
        opened = open_questions(path, num_frames=6)
        assert opened.preprocess.num_frames == opened.model.config.video.num_frames == 6
        assert [entry.model_key for entry in opened.report.resized] == ["vision_encoder.temporal_pos_embedding"]

    def test_other_files_are_refused(self, path: Path, bundle: Path, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"answers no questions; give the weights of `videomamba text train-q"):
            open_questions(bundle)
        with pytest.raises(
            WeightsError, match="is a model that answers questions, which `videomamba text answer` takes"
        ):
            open_video_text(path)
        with pytest.raises(WeightsError, match="is a model that answers questions, without classes"):
            open_pretrained(path)
        assert not is_video_text(path) and weights_content(path) == "questions"
        torch.save(load_file(path), tmp_path / "bare.pth")
        with pytest.raises(WeightsError, match=r"bare.pth: has no settings and no vocabulary"):
            open_questions(tmp_path / "bare.pth")

    def test_its_video_tower(self, path: Path) -> None:
        assert Embedder.from_pretrained(path).dim == 32

    def test_damaged(self, path: Path) -> None:
        rewrite(path, lambda _, tensors: tensors.pop("text_decoder.cls.predictions.bias"))
        with pytest.raises(WeightsError, match=r"1 tensors are missing: text_decoder.cls.predictions.bias"):
            open_questions(path)
