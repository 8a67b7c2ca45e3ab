import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from tests.certified_bundles import archive, colours, write_boxes, write_classifier

from pixloop.bundle import CERTIFICATE, MANIFEST, BoxScores, Bundle, Precision, write_bundle
from pixloop.certificate import calibrate, read_certificate, softmax
from pixloop.errors import BundleError
from pixloop.serving.classifier import softmax as numpy_softmax
from pixloop.serving.detector import read_scores


def test_a_folder_and_its_archive_give_the_same(bundle: Bundle) -> None:
    from_folder = read_certificate(bundle.path)
    assert read_certificate(archive(bundle)) == from_folder
    with archive(bundle).open("rb") as stream:
        assert read_certificate(stream) == from_folder
    assert from_folder.name == bundle.manifest.name
    assert from_folder.acceptance == bundle.manifest.threshold.acceptance
    assert from_folder.latency_ms == 2.0
    assert [p.path for p in from_folder.pictures][:2] == ["test/0000.png", "test/0001.png"]


def test_an_archive_is_read_only_as_far_as_needed(bundle: Bundle) -> None:
    content = archive(bundle).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as whole:
        names = whole.getnames()
        graphs = [name for name in names if name.startswith("graphs/")]
        assert names[-len(graphs) :] == graphs  # what is not needed comes last
        needed = whole.getmember(graphs[0]).offset
    plain = gzip.decompress(content)
    # Within a file: tarfile takes an end between two for the archive's own.
    shortened = gzip.compress(plain[: needed + tarfile.BLOCKSIZE + 1])
    assert read_certificate(io.BytesIO(shortened)) == read_certificate(bundle.path)


def test_arithmetic_is_that_of_the_server() -> None:
    logits = [12.5, -3.0, 0.25]
    assert softmax(logits, 1.7) == pytest.approx(numpy_softmax(np.array(logits), 1.7), abs=1e-15)
    for raw in (0.0, 1e-9, 0.2, 0.5, 0.999999, 1.0):
        for slope, offset in ((1.0, 0.0), (0.7, -2.0), (40.0, 3.0)):
            scores = BoxScores(slope=slope, offset=offset)
            expected = float(read_scores(np.array(raw), scores))
            assert calibrate(raw, slope, offset) == pytest.approx(expected, rel=1e-12)


def test_a_changed_file_is_noticed(classifier_bundle: Bundle, tmp_path: Path) -> None:
    write_classifier(tmp_path)
    stored = json.loads((tmp_path / CERTIFICATE).read_text())
    stored["pictures"][0]["logits"] = [0, 0, 9]
    (tmp_path / CERTIFICATE).write_text(json.dumps(stored))
    with pytest.raises(BundleError, match=r"certificate\.json of the bundle is not what"):
        read_certificate(tmp_path)


def test_a_bundle_that_carries_no_picture_says_so(tmp_path: Path) -> None:
    write_classifier(tmp_path, pictures=[])
    with pytest.raises(BundleError, match="carries no picture"):
        read_certificate(tmp_path)


def test_links_and_foreign_paths_are_not_followed(bundle: Bundle, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo(MANIFEST)
        link.type, link.linkname = tarfile.SYMTYPE, str(bundle.path / MANIFEST)
        tar.addfile(link)
    with pytest.raises(BundleError, match="is no bundle with a certificate"):
        read_certificate(tmp_path / "a.tar.gz")


def test_a_file_of_no_reasonable_size_is_not_read(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixloop.certificate._MAX_FILE_BYTES", 50)
    with pytest.raises(BundleError, match="of the archive is larger than 50 bytes"):
        read_certificate(archive(bundle))


@pytest.mark.parametrize("content", [b"", b"nonsense", gzip.compress(b"no tar")])
def test_what_is_no_archive_is_a_bundle_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.tar\.gz is no bundle"):
        read_certificate(tmp_path / "model.tar.gz")
    with pytest.raises(BundleError, match="is no bundle"):
        read_certificate(tmp_path / "missing")


def test_a_picture_that_is_not_carried_is_left_out(tmp_path: Path) -> None:
    bundle = write_classifier(tmp_path / "bundle")
    whole = read_certificate(bundle.path)
    stored = json.loads((bundle.path / CERTIFICATE).read_text())
    stored["pictures"][1]["file"] = None
    assert len(whole.pictures) == len(colours())
    (bundle.path / CERTIFICATE).write_text(json.dumps(stored))
    write_bundle(bundle.path, bundle.manifest)
    assert len(read_certificate(bundle.path).pictures) == len(colours()) - 1


@pytest.mark.parametrize(
    ("precision", "difference", "iou"), [("float32", 0.001, 0.99), ("int8-bfloat16", 0.1, 0.9)]
)
def test_what_may_differ_follows_from_the_precision_that_is_served(
    precision: Precision, difference: float, iou: float, tmp_path: Path
) -> None:
    bundle = choose_precision(write_boxes(tmp_path), precision)
    certificate = read_certificate(bundle.path)
    assert certificate.max_difference == difference
    assert certificate.min_box_iou == iou
    assert certificate.latency_ms == (2.0 if precision == "float32" else 1.0)
    box = certificate.pictures[0].boxes[0]  # type: ignore[index]
    scores = bundle.manifest.box_scores
    assert scores is not None
    raw = json.loads((bundle.path / CERTIFICATE).read_text())["pictures"][0]["boxes"][0]["score"]
    least = calibrate(raw - difference, scores.slope, scores.offset)
    assert box.least == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize(("temperature", "allowed"), [(0.5, 0.2), (1.0, 0.1), (2.0, 0.1)])
def test_a_low_temperature_moves_probabilities_further(
    temperature: float, allowed: float, tmp_path: Path
) -> None:
    bundle = choose_precision(write_classifier(tmp_path, temperature=temperature), "bfloat16")
    assert read_certificate(bundle.path).max_difference == pytest.approx(allowed)


def choose_precision(bundle: Bundle, precision: Precision) -> Bundle:
    """The bundle, as if its graph of another precision had been chosen too."""
    stored = json.loads((bundle.path / CERTIFICATE).read_text())
    reduced = {**stored["graphs"][0], "precision": "int8-bfloat16", "latency_ms": 1.0}
    stored["graphs"].append(
        reduced if precision == "float32" else {**reduced, "precision": precision}
    )
    stored |= {"max_reduced_difference": 0.1, "min_reduced_box_iou": 0.9}
    (bundle.path / CERTIFICATE).write_text(json.dumps(stored))
    graph = bundle.manifest.graphs[0].model_copy(update={"precision": precision})
    return write_bundle(
        bundle.path,
        bundle.manifest.model_copy(
            update={"graphs": (*bundle.manifest.graphs, graph), "chosen_graph": graph.name}
        ),
    )
