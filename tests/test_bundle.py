import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixloop.bundle import (
    ARCHIVE,
    FORMAT_VERSION,
    MANIFEST,
    BoxScores,
    Bundle,
    EmbeddingCut,
    Graph,
    Manifest,
    ReferenceRecord,
    Threshold,
    now,
    write_bundle,
)
from pixloop.errors import BundleError
from pixloop.files import pack
from pixloop.imaging import Preprocessing

CONTENT = {
    "graphs/model.onnx": b"onnx",
    "graphs/model.xml": b"<net/>",
    "graphs/model.bin": b"weights",
    "certificate.json": b"{}",
}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    folder = tmp_path / "bundle"
    for name, content in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    manifest = Manifest(
        name="animals",
        created=now(),
        classes=("cat", "dög"),
        preprocessing=Preprocessing(image_size=64, resize="squash", mean=(0.1, 0.2, 0.3)),
        graphs=(
            Graph(format="onnx", file="graphs/model.onnx"),
            Graph(format="openvino", file="graphs/model.xml"),
        ),
        chosen_graph="openvino",
        temperature=1.25,
        threshold=Threshold(
            score=None, max_error=0.02, confidence=0.95, accepted_share=0, error=None, pictures=9
        ),
        lineage={"seed": 3, "config": {"training.epochs": 2}},
        versions={"pixloop": "0.1.0"},
    )
    return write_bundle(folder, manifest)


def edit(bundle: Bundle, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change bundle.json as a stranger could."""
    file = bundle.path / MANIFEST
    raw = json.loads(file.read_text())
    change(raw)
    file.write_text(json.dumps(raw))
    return bundle.path


def test_what_was_written_is_read(bundle: Bundle) -> None:
    opened = Bundle.open(bundle.path)
    assert opened.manifest == bundle.manifest
    assert opened.manifest.files.keys() == CONTENT.keys()
    opened.verify()


def test_a_detectors_bundle_is_read_as_it_was_written(bundle: Bundle) -> None:
    scores = BoxScores(slope=1.5, offset=-0.25, minimum=0.3)
    detector = bundle.manifest.model_copy(update={"task": "detection", "box_scores": scores})
    opened = Bundle.open(write_bundle(bundle.path, detector).path)
    assert (opened.manifest.task, opened.manifest.box_scores) == ("detection", scores)


def test_a_bundle_of_before_there_were_detectors_classifies(bundle: Bundle) -> None:
    path = edit(bundle, lambda raw: (raw.pop("task"), raw.pop("box_scores")))
    opened = Bundle.open(path)
    assert (opened.manifest.task, opened.manifest.box_scores) == ("classification", None)


@pytest.mark.parametrize("version", [1, 2])
def test_a_bundle_of_before_there_were_references_is_read(bundle: Bundle, version: int) -> None:
    path = edit(bundle, lambda raw: (raw.pop("reference"), raw.update(format_version=version)))
    opened = Bundle.open(path)
    assert opened.manifest.reference is None
    opened.verify()


def test_a_reference_is_read_as_it_was_written(bundle: Bundle) -> None:
    cut = EmbeddingCut(graph="onnx", tensor="seen")
    record = ReferenceRecord(split="calibration", pictures=7, embedding=cut)
    written = write_bundle(bundle.path, bundle.manifest.model_copy(update={"reference": record}))
    assert Bundle.open(written.path).manifest.reference == record


@pytest.mark.parametrize(
    "change",
    [
        {"task": "segmentation"},
        {"box_scores": {"slope": 0}},
        {"box_scores": {"slope": -1.0}},
        {"box_scores": {"minimum": 1.5}},
        {"box_scores": {"colour": 1}},
    ],
)
def test_a_detectors_manifest_is_checked(bundle: Bundle, change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="is not what pixloop writes"):
        Bundle.open(edit(bundle, lambda raw: raw.update(change)))


def test_graphs_are_found_by_format(bundle: Bundle) -> None:
    assert bundle.graph().format == "openvino"
    assert bundle.graph_path("onnx") == bundle.path / "graphs/model.onnx"
    assert bundle.graph_files("onnx") == ("graphs/model.onnx",)
    assert bundle.graph_files() == ("graphs/model.xml", "graphs/model.bin")
    with pytest.raises(BundleError, match="no torchscript graph; it has onnx, openvino"):
        bundle.graph("torchscript")


def test_a_packed_bundle_is_the_same_bundle(bundle: Bundle, tmp_path: Path) -> None:
    archive = tmp_path / ARCHIVE
    pack(bundle.path, archive)
    first = archive.read_bytes()
    opened = Bundle.open(archive)
    assert opened.path == tmp_path / "model-unpacked"
    opened.verify()
    assert opened.manifest == bundle.manifest
    pack(opened.path, archive)
    assert archive.read_bytes() == first


def test_an_archive_inside_is_no_part_of_the_bundle(bundle: Bundle) -> None:
    pack(bundle.path, bundle.path / ARCHIVE)
    again = write_bundle(bundle.path, bundle.manifest)
    assert again.manifest.files == bundle.manifest.files


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("change", ["same length", "longer", "gone"])
def test_every_altered_file_is_noticed_and_named(bundle: Bundle, name: str, change: str) -> None:
    file = bundle.path / name
    content = file.read_bytes()
    if change == "gone":
        file.unlink()
    else:
        file.write_bytes(b"?" + (content[1:] if change == "same length" else content))
    with pytest.raises(BundleError, match=name):
        bundle.verify()
    with pytest.raises(BundleError, match=name):
        bundle.verify([name])
    bundle.verify([other for other in CONTENT if other != name])


def test_a_file_that_is_not_recorded_is_not_trusted(bundle: Bundle) -> None:
    (bundle.path / "graphs/other.onnx").write_bytes(b"stranger")
    with pytest.raises(BundleError, match=r"does not record graphs/other\.onnx"):
        bundle.verify(["graphs/other.onnx"])


def test_a_folder_without_a_manifest_is_no_bundle(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / MANIFEST).unlink()
    for path in (bundle.path, tmp_path / "missing", tmp_path):
        with pytest.raises(BundleError, match="is no model bundle"):
            Bundle.open(path)


def test_a_file_that_is_no_archive_is_no_bundle(tmp_path: Path) -> None:
    for content in (b"", b"nonsense", b"\x1f\x8b\x08nonsense"):
        (tmp_path / ARCHIVE).write_bytes(content)
        with pytest.raises(BundleError, match="cannot be unpacked"):
            Bundle.open(tmp_path / ARCHIVE)


def test_a_newer_format_asks_for_an_upgrade(bundle: Bundle) -> None:
    path = edit(bundle, lambda raw: raw.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(BundleError, match="Upgrade pixloop"):
        Bundle.open(path)


def test_a_newer_format_may_have_other_keys(bundle: Bundle) -> None:
    path = edit(bundle, lambda raw: raw.update(format_version=FORMAT_VERSION + 1, colour="red"))
    with pytest.raises(BundleError, match="Upgrade pixloop"):
        Bundle.open(path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "graphs/../../secret", "a\0b"])
def test_a_manifest_cannot_reach_outside(bundle: Bundle, name: str) -> None:
    path = edit(bundle, lambda raw: raw["graphs"][0].update(file=name))
    with pytest.raises(BundleError, match="lies outside the bundle"):
        Bundle.open(path)
    path = edit(bundle, lambda raw: raw["files"].update({name: {"sha256": "0", "bytes": 1}}))
    with pytest.raises(BundleError, match="lies outside the bundle"):
        Bundle.open(path)


_BROKEN = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())


@given(key=st.sampled_from(sorted(Manifest.model_fields)), value=_BROKEN)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_manifest_opens_or_is_a_bundle_error(bundle: Bundle, key: str, value: object) -> None:
    original = (bundle.path / MANIFEST).read_text()
    with contextlib.suppress(BundleError):
        Bundle.open(edit(bundle, lambda raw: raw.update({key: value})))
    (bundle.path / MANIFEST).write_text(original)


@given(content=st.binary(max_size=50))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_bundle_error(bundle: Bundle, content: bytes) -> None:
    (bundle.path / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError):
        Bundle.open(bundle.path)


GROUPS = [
    {"classes": ["cat"], "score": 0.8, "accepted_share": 0.5, "error": 0.0, "pictures": 5},
    {"classes": ["dög"], "score": None, "accepted_share": 0, "error": None, "pictures": 4},
]


def test_each_class_may_have_its_own_threshold(bundle: Bundle) -> None:
    threshold = Bundle.open(
        edit(bundle, lambda raw: raw["threshold"].update(groups=GROUPS))
    ).manifest.threshold
    assert threshold.accepts("cat", 0.8)
    assert not threshold.accepts("cat", 0.79)
    assert not threshold.accepts("dög", 1.0)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_thresholds_of_older_bundles_are_for_all_classes(bundle: Bundle, version: int) -> None:
    def age(raw: dict[str, Any]) -> None:
        del raw["threshold"]["groups"]
        raw["threshold"]["score"] = 0.7
        raw["format_version"] = version

    threshold = Bundle.open(edit(bundle, age)).manifest.threshold
    assert threshold.groups == ()
    assert [threshold.accepts(label, 0.75) for label in ("cat", "dög")] == [True, True]


@pytest.mark.parametrize(
    ("threshold", "says"),
    [
        ({"groups": GROUPS[:1]}, "thresholds and classes differ in: dög"),
        ({"groups": [*GROUPS, {**GROUPS[0], "classes": ["fox"]}]}, "differ in: fox"),
        ({"groups": [*GROUPS, GROUPS[0]]}, "a class has two thresholds"),
        ({"groups": GROUPS, "score": 0.9}, "beside those of groups"),
        ({"groups": [GROUPS[0], {**GROUPS[1], "score": 1.5}]}, "less than or equal to 1"),
        ({"groups": [*GROUPS, {**GROUPS[0], "classes": []}]}, "at least 1 item"),
    ],
)
def test_groups_that_cannot_be_are_refused(
    bundle: Bundle, threshold: dict[str, Any], says: str
) -> None:
    path = edit(bundle, lambda raw: raw["threshold"].update(threshold))
    with pytest.raises(BundleError, match=says):
        Bundle.open(path)
