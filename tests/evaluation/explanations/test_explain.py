"""Explaining picture files by a version's bundle."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.evaluation.test_trained_network import write_traced_bundle

from pixloop.bundle import MANIFEST, Bundle
from pixloop.errors import BundleError, ConfigError
from pixloop.evaluation.explanations.explain import PictureExplainer
from pixloop.files import sha256_file
from pixloop.training.classifiers import create_classifier


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    network = create_classifier("test_resnet", 3, 32).eval()
    return write_traced_bundle(tmp_path / "bundle", network, "test_resnet", 32)


def _cache(folder: Path, bundle: Bundle, **failures: list[str]) -> Path:
    """What an earlier check found of each method, the best first."""
    gain = {"mean": 0.2, "low": 0.1}
    found = [
        {
            "method": name.replace("_", "-"),
            "title": name,
            "pictures": 8,
            "similarity": 0.1,
            "deletion": gain,
            "insertion": gain,
            "failures": why,
        }
        for name, why in failures.items()
    ]
    folder.mkdir(exist_ok=True)
    file = folder / f"{sha256_file(bundle.path / MANIFEST)}.json"
    file.write_text(json.dumps(found))
    return folder


def _picture(file: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8)
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


def test_the_best_method_that_passed_draws_each_picture(bundle: Bundle, tmp_path: Path) -> None:
    cache = _cache(tmp_path / "cache", bundle, occlusion=[], grad_cam=["it sees edges"])
    explainer = PictureExplainer(bundle, cache)
    files = [_picture(tmp_path / name / "1.png") for name in ("a", "b")]
    found = list(explainer.explain(files, tmp_path / "out"))
    assert [each.method for each in found] == ["occlusion"] * 2
    drawings = [Path(each.drawing or "") for each in found]
    assert len(set(drawings)) == 2
    for drawing in drawings:
        with Image.open(drawing) as image:
            assert image.width >= 2 * 90


def test_the_answer_or_the_class_that_is_asked_for_is_explained(
    bundle: Bundle, tmp_path: Path
) -> None:
    explainer = PictureExplainer(bundle, _cache(tmp_path / "cache", bundle, occlusion=[]))
    file = _picture(tmp_path / "1.png")
    scores = {}
    for label in ("blue", "green", "red"):
        (each,) = explainer.explain([file], tmp_path / label, label)
        assert each.label == label
        scores[label] = each.score
    (answer,) = explainer.explain([file], tmp_path / "out")
    assert answer.label == max(scores, key=lambda label: scores[label] or 0)
    with pytest.raises(ConfigError, match="knows no class 'cat'"):
        list(explainer.explain([file], tmp_path, "cat"))


def test_a_method_that_failed_is_not_used(bundle: Bundle, tmp_path: Path) -> None:
    cache = _cache(tmp_path / "cache", bundle, occlusion=[], grad_cam=["it sees edges"])
    with pytest.raises(ConfigError, match=r"it sees edges.*occlusion passed"):
        PictureExplainer(bundle, cache, "grad-cam")
    with pytest.raises(ConfigError, match="no method 'magic' for classification"):
        PictureExplainer(bundle, cache, "magic")
    _cache(cache, bundle, occlusion=["it is blind"], grad_cam=["it sees edges"])
    with pytest.raises(BundleError, match="no method passed"):
        PictureExplainer(bundle, cache)


def test_a_picture_that_cannot_be_read_stops_nothing(bundle: Bundle, tmp_path: Path) -> None:
    explainer = PictureExplainer(bundle, _cache(tmp_path / "cache", bundle, occlusion=[]))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    files = [tmp_path / "missing.png", broken, _picture(tmp_path / "1.png")]
    missing, unreadable, fine = explainer.explain(files, tmp_path / "out")
    assert missing.error
    assert unreadable.error == "not a picture in a format that pixloop reads"
    assert fine.drawing
    assert fine.error is None


def test_without_pictures_to_check_on_it_says_so(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="too few test pictures"):
        PictureExplainer(bundle, tmp_path / "cache")
