import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pixloop.bundle import ARCHIVE, MANIFEST, Bundle, Threshold
from pixloop.config import Config
from pixloop.decoding import decode_image
from pixloop.errors import BundleError, ExportError
from pixloop.export import export, onnx
from pixloop.export.certificate import Certificate
from pixloop.export.export import Draft, calibrate, seal, write_graphs
from pixloop.imaging import to_input
from pixloop.records import Decision
from pixloop.serving.predictor import open_predictor

THRESHOLD = Threshold(
    score=0.6, max_error=0.02, confidence=0.95, accepted_share=0.7, error=0.01, pictures=300
)


@pytest.fixture(scope="module")
def draft(
    config: Config,
    model_folder: Path,
    dataset_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Draft:
    return write_graphs(config, model_folder, dataset_folder, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def bundle(draft: Draft) -> Bundle:
    return seal(calibrate(draft, THRESHOLD, temperature=1.5))


def only(config: Config, *formats: str, **limits: float) -> Config:
    changed = config.export.model_copy(update={"formats": formats, **limits})
    return config.model_copy(update={"export": changed})


def test_every_format_is_written_and_agrees(draft: Draft) -> None:
    assert {g.format for g in draft.manifest.graphs} == {"torchscript", "onnx", "openvino"}
    for parity in draft.certificate.graphs:
        assert parity.verdict == "agrees", parity.reason
        assert parity.top1_agreement == 1
        assert parity.largest_probability_difference is not None
        assert parity.largest_probability_difference < 1e-4
        assert parity.pictures >= 30
        assert parity.latency_ms is not None
        assert parity.pictures_per_s is not None


def test_the_fastest_graph_that_is_served_is_chosen(draft: Draft) -> None:
    served = [g for g in draft.certificate.graphs if g.format != "torchscript"]
    most = max(g.pictures_per_s or 0 for g in served)
    fastest = [g.name for g in served if (g.pictures_per_s or 0) >= 0.97 * most]
    assert draft.manifest.chosen_graph == draft.certificate.chosen_graph
    assert draft.manifest.chosen_graph in fastest


def test_a_draft_predicts_but_is_no_bundle(
    config: Config, model_folder: Path, dataset_folder: Path, tmp_path: Path, pictures: list[bytes]
) -> None:
    draft = write_graphs(only(config, "onnx"), model_folder, dataset_folder, tmp_path)
    with pytest.raises(BundleError, match="no model bundle"):
        Bundle.open(tmp_path)
    assert draft.predictor().logits(pictures[:2]).shape == (2, 3)
    assert draft.predictor().predict(pictures[:1])[0].decision is Decision.REFER


def test_the_sealed_bundle_predicts_as_the_trained_model(
    bundle: Bundle, network: nn.Module, pictures: list[bytes]
) -> None:
    preprocessing = bundle.manifest.preprocessing
    images = np.stack([to_input(decode_image(p), preprocessing) for p in pictures])
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    predictor = open_predictor(bundle)
    np.testing.assert_allclose(predictor.logits(pictures), expected, atol=1e-4)
    shares = np.exp(expected / 1.5) / np.exp(expected / 1.5).sum(1, keepdims=True)
    scores = [prediction.score for prediction in predictor.predict(pictures)]
    np.testing.assert_allclose(scores, shares.max(1), atol=1e-4)


def test_the_manifest_says_where_the_model_is_from(bundle: Bundle) -> None:
    manifest = Bundle.open(bundle.path).manifest
    assert manifest.name == "animals"
    assert manifest.temperature == 1.5
    assert manifest.threshold == THRESHOLD
    assert manifest.lineage == {"model": "test_resnet", "dataset_sha256": "d" * 64, "seed": 7}
    assert {"python", "pixloop", "torch", "onnx", "openvino"} <= manifest.versions.keys()


def test_the_stored_pictures_check_a_deployment(bundle: Bundle) -> None:
    certificate = Certificate.model_validate_json((bundle.path / "certificate.json").read_text())
    assert len(certificate.pictures) == 8
    predictor = open_predictor(bundle)
    for stored in certificate.pictures:
        assert stored.file is not None
        assert stored.file in bundle.manifest.files
        answer = predictor.logits([(bundle.path / stored.file).read_bytes()])[0]
        np.testing.assert_allclose(answer, stored.logits, atol=1e-4)


def test_the_archive_is_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    unpacked = Bundle.open(bundle.path / ARCHIVE, unpack_to=tmp_path / "unpacked")
    unpacked.verify()
    assert unpacked.manifest == bundle.manifest


def test_a_wrong_graph_is_refused_and_not_shipped(
    config: Config,
    model_folder: Path,
    dataset_folder: Path,
    tmp_path: Path,
    pictures: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_altered(network: nn.Module, *rest: object) -> object:
        with torch.no_grad():
            altered = torch.nn.Sequential(network, torch.nn.Linear(3, 3)).eval()
            altered[1].weight.copy_(torch.eye(3).roll(1, 0))
        return onnx.write(altered, *rest)  # type: ignore[arg-type]

    writers = {"onnx": write_altered, "torchscript": export.WRITERS["torchscript"]}
    monkeypatch.setattr(export, "WRITERS", writers)
    draft = write_graphs(only(config, *writers), model_folder, dataset_folder, tmp_path)
    refused = next(g for g in draft.certificate.graphs if g.format == "onnx")
    assert refused.verdict == "refused"
    assert "max_accuracy_loss" in refused.reason
    assert "max_probability_difference" in refused.reason
    assert refused.latency_ms is None
    assert not (tmp_path / onnx.FILE).exists()
    # Nothing that can be served agrees, so the one that is left is chosen.
    assert draft.manifest.chosen_graph == "torchscript"
    assert [g.format for g in draft.manifest.graphs] == ["torchscript"]
    assert open_predictor(seal(calibrate(draft, THRESHOLD))).predict(pictures[:1])


def test_a_format_that_cannot_be_written_stops_no_other(
    config: Config,
    model_folder: Path,
    dataset_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> object:
        raise ExportError("there is no such operator")

    monkeypatch.setattr(export, "WRITERS", {**export.WRITERS, "torchscript": fail})
    config = only(config, "torchscript", "onnx")
    draft = write_graphs(config, model_folder, dataset_folder, tmp_path)
    reasons = {g.format: g.reason for g in draft.certificate.graphs}
    assert reasons["torchscript"] == "there is no such operator"
    assert draft.manifest.chosen_graph == "onnx"


def test_no_graph_that_agrees_is_an_error(
    config: Config, model_folder: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    strict = only(config, "onnx", max_probability_difference=1e-12)
    with pytest.raises(ExportError, match=r"no exported graph agrees.*onnx: it moves"):
        write_graphs(strict, model_folder, dataset_folder, tmp_path)
    assert not (tmp_path / MANIFEST).exists()


def test_another_data_set_is_refused(
    config: Config,
    model_folder: Path,
    write_dataset: Callable[..., Path],
    pictures: list[bytes],
    tmp_path: Path,
) -> None:
    foreign = write_dataset(pictures[:3], classes=("bus", "car"))
    with pytest.raises(ExportError, match="bus, car"):
        write_graphs(config, model_folder, foreign, tmp_path)
    with pytest.raises(ExportError, match="no test pictures"):
        write_graphs(config, model_folder, write_dataset([]), tmp_path)


def test_a_second_export_replaces_the_first(
    config: Config, model_folder: Path, dataset_folder: Path, tmp_path: Path
) -> None:
    both = only(config, "onnx", "openvino")
    draft = write_graphs(both, model_folder, dataset_folder, tmp_path)
    first = seal(calibrate(draft, THRESHOLD))
    draft = write_graphs(only(config, "onnx"), model_folder, dataset_folder, tmp_path)
    assert not (tmp_path / MANIFEST).exists()
    second = seal(calibrate(draft, THRESHOLD))
    assert "graphs/model.xml" in first.manifest.files
    assert "graphs/model.xml" not in second.manifest.files
    assert json.loads((tmp_path / MANIFEST).read_text())["chosen_graph"] == "onnx"


def test_two_test_pictures_are_enough(
    config: Config,
    model_folder: Path,
    write_dataset: Callable[..., Path],
    pictures: list[bytes],
    tmp_path: Path,
) -> None:
    draft = write_graphs(only(config, "onnx"), model_folder, write_dataset(pictures[:2]), tmp_path)
    assert draft.certificate.graphs[0].pictures == sum(draft.certificate.batch_sizes)
    assert len(draft.certificate.pictures) == 2
