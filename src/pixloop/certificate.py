"""The pictures of a bundle's certificate, and what a deployment must answer about each.

Only the standard library is used, so that a Lambda function can carry this module.
"""

import hashlib
import json
import math
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pixloop.acceptance import Acceptance
from pixloop.errors import BundleError

_MANIFEST, _CERTIFICATE = "bundle.json", "certificate.json"
_PICTURE = re.compile(r"certificate/[^/]+")
#: No file that is read from an archive may be larger; stored pictures are far smaller.
_MAX_FILE_BYTES = 32_000_000
#: As ``serving.detector`` reads scores: those of 0 and 1 are the nearest float32 between them.
_NEAREST_SCORE = 2.0**-25


@dataclass(frozen=True)
class CertifiedBox:
    """A box that the trained model finds, with its score after calibration, from 0 to 1.

    Attributes:
        label: its class.
        xyxy: its edges in pixels of the upright picture.
        score: calibrated.
        least: the calibrated score, were the raw one lower by the certificate's tolerance.
        most: the calibrated score, were the raw one higher by as much.
    """

    label: str
    xyxy: tuple[float, float, float, float]
    score: float
    least: float
    most: float


@dataclass(frozen=True)
class CertifiedPicture:
    """A stored picture and the right answer: ``probabilities``, or a detector's ``boxes``."""

    number: int  #: in the certificate, from 1
    path: str  #: in the data set
    content: bytes  #: as encoded
    probabilities: Mapping[str, float] | None = None  #: of every class, calibrated
    boxes: tuple[CertifiedBox, ...] | None = None  #: the surest first, also those not answered

    def __str__(self) -> str:
        return f"picture {self.number} ({self.path})"


@dataclass(frozen=True)
class Certificate:
    """What a deployment of one bundle is held against.

    Attributes:
        name: the bundle's own.
        acceptance: from which score on an answer of each class is accepted.
        max_difference: of a probability, or of a detector's score before calibration: what was
            allowed to the precision of the chosen graph. Where that is a reduced one, a machine
            without it serves one nearer to the model.
        min_box_iou: of two boxes that are the same.
        minimum: boxes of a lower calibrated score are not answered.
        latency_ms: of a lone picture on the machine that exported, where it was measured.
        pictures: those that the bundle carries.
    """

    name: str
    acceptance: Acceptance
    max_difference: float
    min_box_iou: float
    minimum: float
    latency_ms: float | None
    pictures: tuple[CertifiedPicture, ...]


def read_certificate(source: Path | IO[bytes]) -> Certificate:
    """Read the certificate of a bundle.

    Args:
        source: a bundle's folder, its ``model.tar.gz``, or an open stream of that archive, which
            is read only as far as needed. Nothing is written to disk.

    Raises:
        BundleError: there is no bundle, it is damaged, or it carries no picture to ask about.
        OSError: a stream breaks off, which says nothing about the bundle.
    """
    if not isinstance(source, Path):
        return _read(lambda: _read_archive(source), "the archive")
    try:
        if source.is_dir():
            return _read(lambda: _Files(lambda name: (source / name).read_bytes()), str(source))
        with source.open("rb") as stream:
            return _read(lambda: _read_archive(stream), str(source))
    except OSError as e:
        raise BundleError(f"{source} is no bundle with a certificate: {e}") from e


def _read(files: Callable[[], "_Files"], where: str) -> Certificate:
    try:
        return _certificate(files())
    except (EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as e:
        raise BundleError(f"{where} is no bundle with a certificate: {e!r}") from e


class _Files:
    """Files of a bundle, each held against the SHA-256 that bundle.json has of it."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read
        self.manifest: dict[str, Any] = json.loads(read(_MANIFEST))

    def read(self, name: str) -> bytes:
        content = self._read(name)
        if hashlib.sha256(content).hexdigest() != self.manifest["files"][name]["sha256"]:
            raise BundleError(f"{name} of the bundle is not what {_MANIFEST} says it is.")
        return content


def _read_archive(stream: IO[bytes]) -> _Files:
    """Keep the few files that are needed, in whatever order they come; then stop reading."""
    kept: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|gz") as archive:
        for member in archive:
            name = str(PurePosixPath(member.name))
            wanted = name in (_MANIFEST, _CERTIFICATE) or _PICTURE.fullmatch(name)
            if not wanted or not member.isfile():
                continue
            if member.size > _MAX_FILE_BYTES:
                raise BundleError(f"{name} of the archive is larger than {_MAX_FILE_BYTES} bytes.")
            file = archive.extractfile(member)
            kept[name] = file.read() if file else b""
            if _is_complete(kept):
                break
    return _Files(kept.__getitem__)


def _is_complete(kept: Mapping[str, bytes]) -> bool:
    if _MANIFEST not in kept or _CERTIFICATE not in kept:
        return False
    return all(picture["file"] in kept for picture in _stored(json.loads(kept[_CERTIFICATE])))


def _stored(certificate: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The entries of pictures that the bundle carries; large ones have no file."""
    for picture in certificate["pictures"]:
        if picture["file"] is not None:
            if not _PICTURE.fullmatch(picture["file"]):
                raise BundleError(f"{_CERTIFICATE}: {picture['file']!r} is no stored picture.")
            yield picture


def _certificate(files: _Files) -> Certificate:
    manifest = files.manifest
    stored = json.loads(files.read(_CERTIFICATE))
    entries = list(_stored(stored))
    if not entries:
        raise BundleError(
            f"the certificate of {manifest['name']!r} carries no picture, so no deployment can be "
            "held against it. The test pictures are too large to be stored: a new run stores some."
        )
    chosen = _chosen(manifest)
    tolerance, min_box_iou = float(stored["max_probability_difference"]), stored.get("min_box_iou")
    if chosen[1] != "float32":
        tolerance = float(stored["max_reduced_difference"])
        min_box_iou = stored.get("min_reduced_box_iou")
    temperature = float(manifest["temperature"])
    box_scores = manifest.get("box_scores") or {}
    pictures = []
    for number, entry in enumerate(entries, start=1):
        content = files.read(entry["file"])
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise BundleError(f"{entry['file']} is not the picture of {_CERTIFICATE}.")
        answer: dict[str, Any]
        if manifest.get("task") == "detection":
            boxes = (_box(box, box_scores, tolerance) for box in entry["boxes"])
            answer = {"boxes": tuple(boxes)}
        else:
            shares = softmax(entry["logits"], temperature)
            answer = {"probabilities": dict(zip(manifest["classes"], shares, strict=True))}
        pictures.append(CertifiedPicture(number, entry["path"], content, **answer))
    latencies = {_kind(graph): graph.get("latency_ms") for graph in stored["graphs"]}
    # Graphs were compared at temperature 1. A lower one moves probabilities apart by as much.
    max_difference = tolerance / min(1.0, temperature)
    return Certificate(
        name=manifest["name"],
        acceptance=Acceptance.of(manifest["threshold"]),
        max_difference=max_difference,
        min_box_iou=min_box_iou or 0.0,
        minimum=box_scores.get("minimum", 0.0),
        latency_ms=latencies.get(chosen),
        pictures=tuple(pictures),
    )


def _chosen(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Format and precision of the graph that is served."""
    kinds = {_name(*_kind(graph)): _kind(graph) for graph in manifest["graphs"]}
    return kinds[manifest["chosen_graph"]]


def _kind(graph: Mapping[str, Any]) -> tuple[str, str]:
    """Format and precision of a graph; older bundles know one precision."""
    return graph["format"], graph.get("precision", "float32")


def _name(format_: str, precision: str) -> str:
    """As ``bundle.graph_name``."""
    return format_ if precision == "float32" else f"{format_}-{precision}"


def _box(box: Mapping[str, Any], scores: Mapping[str, float], tolerance: float) -> CertifiedBox:
    x1, y1, x2, y2 = (float(edge) for edge in box["xyxy"])
    least, score, most = (
        calibrate(box["score"] + shift, scores.get("slope", 1.0), scores.get("offset", 0.0))
        for shift in (-tolerance, 0.0, tolerance)
    )
    return CertifiedBox(box["label"], (x1, y1, x2, y2), score, least, most)


def softmax(logits: list[float], temperature: float) -> list[float]:
    """Probabilities, as ``serving.classifier.softmax`` gives them.

    >>> softmax([0.0, 0.0], 1.5)
    [0.5, 0.5]
    """
    largest = max(logits)
    powers = [math.exp((logit - largest) / temperature) for logit in logits]
    total = math.fsum(powers)
    return [power / total for power in powers]


def calibrate(raw: float, slope: float, offset: float) -> float:
    """A detector's score after calibration, as ``serving.detector.read_scores`` gives it.

    >>> round(calibrate(0.25, 1.0, 0.0), 6)
    0.25
    """
    inside = min(max(raw, _NEAREST_SCORE), 1 - _NEAREST_SCORE)
    logit = slope * (math.log(inside) - math.log1p(-inside)) + offset
    # Each form on the side where its exp cannot overflow.
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    power = math.exp(logit)
    return power / (1 + power)
