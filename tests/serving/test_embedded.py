"""The models inside the package: their files, and that they work on files that they have not seen."""

from __future__ import annotations

from pathlib import Path

import torch

from videomamba import Predictor
from videomamba.serving.video_text import TextEmbedder
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.camera.dataset import write_camera_dataset
from videomamba.synthetic.camera.motions import MOTIONS
from videomamba.synthetic.captions import captions
from videomamba.synthetic.dataset import write_dataset
from videomamba.weights.bundle import read_bundle_metadata
from videomamba.weights.released import ACTIONS_MODEL, CAMERA_MODEL, TEXT_MODEL
from videomamba.weights.zoo import resolve_weights, zoo_entry


def test_the_files_are_small_and_say_what_they_are() -> None:
    files = (
        (CAMERA_MODEL, 4_000_000, "measured"),
        (ACTIONS_MODEL, 4_000_000, "held_out_top1"),
        (TEXT_MODEL, 12_000_000, "measured"),
    )
    for name, largest, measured in files:
        path = resolve_weights(name)
        assert zoo_entry(name).packaged and path.stat().st_size < largest
        assert {"command", "license", "data", measured} <= set(read_bundle_metadata(path).info)
    assert read_bundle_metadata(resolve_weights(ACTIONS_MODEL)).labels == ACTIONS
    assert read_bundle_metadata(resolve_weights(CAMERA_MODEL)).labels == MOTIONS


def test_a_camera_over_a_photograph_that_it_has_not_seen(tmp_path: Path) -> None:
    """The full figure is printed by benchmarks/camera_motion.py; this is the photograph of the demonstration."""
    photograph = Path(__file__).parents[2] / "examples" / "osprey.jpg"
    files = write_camera_dataset(
        tmp_path, pictures=[photograph], clips_per_class=3, seed=9004, height=180, width=320, fps=24
    )
    answers = list(Predictor.from_pretrained().predict_many([file.path for file in files], top=1))
    right = sum(answer.top.label == file.name for answer, file in zip(answers, files, strict=True))
    assert right >= 0.85 * len(files)


def test_unseen_clips_at_another_size_rate_and_quality(tmp_path: Path) -> None:
    """The full figure is printed by benchmarks/embedded_default.py; these are three clips of each class."""
    settings = {"num_frames": 40, "fps": 25, "height": 160, "width": 208, "crf": 30}
    files = write_dataset(tmp_path, clips_per_class=3, seed=9001, **settings)
    predictor = Predictor.from_pretrained(ACTIONS_MODEL)
    answers = list(predictor.predict_many([file.path for file in files], top=1))
    right = sum(answer.top.label == file.name for answer, file in zip(answers, files, strict=True))
    assert right >= 0.9 * len(files)


def test_the_order_of_the_frames_is_what_it_reads(tmp_path: Path) -> None:
    """Played backwards, a clip becomes its twin."""
    files = write_dataset(tmp_path, clips_per_class=1, seed=9002)
    predictor = Predictor.from_pretrained(ACTIONS_MODEL)
    backwards = 0
    for file in files:
        clip = predictor.clips(file.path)[0].data.flip(1)
        with torch.inference_mode():
            answer = int(predictor.model(clip[None]).argmax())
        backwards += answer == file.label ^ 1
    assert backwards >= 0.8 * len(files)


def test_unseen_clips_are_found_by_sentences_that_training_did_not_have(tmp_path: Path) -> None:
    """The full figure is printed by benchmarks/video_text.py; these are two clips of each class."""
    files = write_dataset(tmp_path, clips_per_class=2, seed=9003, num_frames=40, fps=25, height=160, width=208)
    embedder = TextEmbedder.from_pretrained()
    vectors = torch.cat([embedder.features(embedder.clips(file.path)) for file in files])
    sentences = [captions(file.label, file.seed, held_out=True)[0] for file in files]
    order = (embedder.texts(sentences) @ vectors.T).argsort(dim=1, descending=True)
    places = [row.index(number) for number, row in enumerate(order.tolist())]
    assert sum(place == 0 for place in places) >= 0.75 * len(files) and max(places) < 5
