"""The model bundle: one folder that holds everything a server needs, and nothing of torch.

::

    bundle/
      bundle.json          this module's ``Manifest``: classes, preprocessing, graphs, thresholds,
                           lineage, and the SHA-256 of every other file
      certificate.json     the parity certificate: how each graph compares with the trained model
      graphs/model.pt      TorchScript
      graphs/model.onnx    ONNX
      graphs/model.xml     OpenVINO, with model.bin; model-int8.xml and .bin, where they agree
      reference/           what pictures looked like then, to test drift against

``write_bundle`` finishes a folder by writing ``bundle.json``; a folder without one is no bundle,
so a kill in the middle never leaves something that looks like one.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pixloop.acceptance import Acceptance
from pixloop.errors import BundleError
from pixloop.files import sha256_file, unpack, write_text
from pixloop.imaging import Preprocessing

MANIFEST = "bundle.json"
CERTIFICATE = "certificate.json"
ARCHIVE = "model.tar.gz"
#: 2: graphs of reduced precision, and pictures scaled as only later versions can.
#: 3: a reference for drift.
#: 4: thresholds of groups of classes, which older readers would take for none.
FORMAT_VERSION = 4

Task = Literal["classification", "detection"]
GraphFormat = Literal["torchscript", "onnx", "openvino"]
#: What a graph is computed in. bfloat16 takes the files of float32. int8 has its own; what is not
#: quantised in them is computed in float32, or in bfloat16 where the precision says so.
Precision = Literal["float32", "bfloat16", "int8", "int8-bfloat16"]

#: What every graph calls its input and, task by task, its outputs.
INPUT = "images"
OUTPUTS: Mapping[Task, tuple[str, ...]] = {
    "classification": ("logits",),
    "detection": ("boxes", "scores", "labels"),
}


def graph_name(format_: GraphFormat, precision: Precision) -> str:
    """What a graph is called: its format, and its precision where that is reduced.

    >>> graph_name("openvino", "int8-bfloat16")
    'openvino-int8-bfloat16'
    """
    return format_ if precision == "float32" else f"{format_}-{precision}"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Graph(_Part):
    """One exported graph: any batch size in, what ``OUTPUTS`` names for the task out.

    Input ``images``: float32 (N, 3, size, size), normalised. Classification gives ``logits``:
    float32 (N, K). Detection gives, for D boxes a picture, the surest first, ``boxes``: float32
    (N, D, 4), xyxy in pixels of the input; ``scores``: float32 (N, D), 0 to 1; ``labels``: int64
    (N, D), indices into the classes. Where there are fewer than D boxes, the rest has score 0.
    """

    format: GraphFormat
    file: str  #: relative to the bundle; OpenVINO's .bin lies beside its .xml
    precision: Precision = "float32"

    @property
    def name(self) -> str:
        """What it is called in the bundle: its format, and its precision where it is reduced.

        >>> Graph(format="openvino", file="graphs/model.xml", precision="bfloat16").name
        'openvino-bfloat16'
        """
        return graph_name(self.format, self.precision)


class ThresholdGroup(_Part):
    """The threshold of the predictions of some classes: a class of its own, or a pool of them.

    Its promise is about these predictions together. Fields mean what they do in ``Threshold``.
    """

    classes: tuple[str, ...] = Field(min_length=1)  #: what is predicted
    score: float | None = Field(ge=0, le=1)
    accepted_share: float  #: of the calibration pictures' predictions of these classes
    error: float | None
    pictures: int  #: how many calibration pictures have a prediction of these classes


class Threshold(_Part):
    """When a prediction is accepted: from ``score`` on, if there is such a score.

    ``score`` is None where no threshold keeps the promise; then every prediction is referred. A
    detector's predictions are its boxes; its ``max_error`` bounds the mean, over pictures with
    accepted boxes, of the share of wrong ones among them, and ``error`` is that mean.

    Where there are ``groups``, each prediction's class decides which threshold it must reach, and
    ``score`` is None. Each group's promise is as sure as ``confidence`` by itself.
    """

    score: float | None = Field(ge=0, le=1)
    max_error: float  #: the promised largest share of errors among accepted predictions
    confidence: float  #: how sure the promise is
    accepted_share: float  #: of the calibration pictures
    error: float | None  #: among the accepted calibration pictures; None where none is accepted
    pictures: int  #: how many calibration pictures there were
    groups: tuple[ThresholdGroup, ...] = ()  #: each class is in one; none in older bundles

    @model_validator(mode="after")
    def _check_groups(self) -> "Threshold":
        classes = [label for group in self.groups for label in group.classes]
        if len(set(classes)) < len(classes):
            raise ValueError("a class has two thresholds")
        if self.groups and self.score is not None:
            raise ValueError("there is a threshold for all classes beside those of groups")
        return self

    @property
    def acceptance(self) -> Acceptance:
        """The least score of each class: what decides."""
        own = {label: group.score for group in self.groups for label in group.classes}
        return Acceptance(self.score, own)

    def accepts(self, label: str, score: float) -> bool:
        """Whether a prediction of a class needs no person."""
        return self.acceptance.accepts(label, score)


class BoxScores(_Part):
    """How a detector's scores are read: what they mean, and which are worth showing.

    A score is ``1 / (1 + exp(-(slope * logit(raw) + offset)))`` of what the graph gives.
    (Platt 1999, as in Küppers et al. 2020 for boxes.)
    """

    slope: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)
    minimum: float = Field(default=0.0, ge=0, le=1)  #: boxes of a lower score are not answered


class EmbeddingCut(_Part):
    """Where a picture's embedding is taken out of a graph: what it computes before its answer."""

    graph: str  #: the name of one of the bundle's graphs, computed in float32
    tensor: str  #: its name in that graph; what has an extent over the picture is averaged over it


class ReferenceRecord(_Part):
    """The reference that drift is tested against; ``monitoring.reference`` says what is in it."""

    split: str  #: that its pictures are of
    pictures: int  #: how many they are
    embedding: EmbeddingCut | None = None
    without_embedding: str = ""  #: why there is none, where there is none


class FileRecord(_Part):
    """What a file of the bundle must be."""

    sha256: str
    bytes: int


class Manifest(_Part):
    """The content of bundle.json."""

    format_version: int = FORMAT_VERSION
    name: str  #: of the project
    task: Task = "classification"
    created: str  #: ISO 8601, UTC
    classes: tuple[str, ...]  #: in the order of the logits, or what labels are indices into
    preprocessing: Preprocessing
    graphs: tuple[Graph, ...]
    chosen_graph: str  #: the name of the fastest that agrees with the trained model
    temperature: float = Field(gt=0)  #: probabilities are softmax(logits / temperature)
    box_scores: BoxScores | None = None  #: of a detector
    threshold: Threshold
    reference: ReferenceRecord | None = None  #: none in bundles of before version 3
    lineage: dict[str, Any]  #: dataset_sha256, config, commit, seed, model, weights, ...
    versions: dict[str, str]  #: of pixloop and the libraries that made it
    files: dict[str, FileRecord] = {}

    @model_validator(mode="after")
    def _check_groups(self) -> "Manifest":
        classes = {label for group in self.threshold.groups for label in group.classes}
        if classes and classes != set(self.classes):
            odd = ", ".join(sorted(classes ^ set(self.classes)))
            raise ValueError(f"thresholds and classes differ in: {odd}")
        return self


class Bundle:
    """A bundle on disk, opened and checked in form; ``verify`` also checks its content."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Use ``Bundle.open``."""
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path, unpack_to: Path | None = None) -> "Bundle":
        """Open a bundle folder, or a ``model.tar.gz``, which is unpacked to ``unpack_to`` first.

        Raises:
            BundleError: there is no bundle, or it is damaged or written by a newer pixloop.
        """
        if path.is_file():
            target = unpack_to or path.with_name(path.name.removesuffix(".tar.gz") + "-unpacked")
            try:
                unpack(path, target)
            except Exception as e:  # tarfile, zlib and the file system each have their own
                raise BundleError(f"{path} cannot be unpacked as a model bundle: {e}") from e
            path = target
        return cls(path, _read_manifest(path))

    def graph(self, name: str | None = None) -> Graph:
        """The graph of a name, the chosen one by default.

        Raises:
            BundleError: the bundle has no such graph; the message lists those it has.
        """
        wanted = name or self.manifest.chosen_graph
        for graph in self.manifest.graphs:
            if graph.name == wanted:
                return graph
        has = ", ".join(graph.name for graph in self.manifest.graphs)
        raise BundleError(f"{self.path} has no {wanted} graph; it has {has}.")

    def graph_path(self, name: str | None = None) -> Path:
        """The file of a graph, the chosen one by default."""
        return self.path / self.graph(name).file

    def graph_files(self, name: str | None = None) -> tuple[str, ...]:
        """The names of a graph's files, relative to the bundle; the chosen graph's by default."""
        graph = self.graph(name)
        if graph.format == "openvino":
            return graph.file, graph.file.removesuffix(".xml") + ".bin"
        return (graph.file,)

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Hold files against their size and SHA-256 in bundle.json: all of them, or those named.

        Raises:
            BundleError: a file is missing, unrecorded or differs; the message names it.
        """
        for name in self.manifest.files if names is None else names:
            record = self.manifest.files.get(name)
            if record is None:
                raise BundleError(f"{self.path}: {MANIFEST} does not record {name}.")
            file = self.path / name
            if not file.is_file():
                raise BundleError(f"{self.path}: {name} is missing. Export the model again.")
            if file.stat().st_size != record.bytes or sha256_file(file) != record.sha256:
                raise BundleError(
                    f"{self.path}: {name} is not the file that was exported (its SHA-256 differs)."
                )


def write_bundle(folder: Path, manifest: Manifest) -> Bundle:
    """Finish a bundle: record every file below ``folder`` and write ``bundle.json`` last."""
    files = {
        path.relative_to(folder).as_posix(): FileRecord(
            sha256=sha256_file(path), bytes=path.stat().st_size
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, ARCHIVE)
    }
    complete = manifest.model_copy(update={"files": files})
    write_text(folder / MANIFEST, complete.model_dump_json(indent=2) + "\n")
    return Bundle(folder, complete)


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _read_manifest(folder: Path) -> Manifest:
    file = folder / MANIFEST
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as e:
        raise BundleError(f"{folder} is no model bundle: it has no {MANIFEST}.") from e
    except ValueError as e:
        raise BundleError(f"{file} is not UTF-8, so pixloop did not write it.") from e
    try:
        # First, because a newer manifest may have keys that this one would only call wrong.
        version = _Version.model_validate_json(text).format_version
        if version > FORMAT_VERSION:
            raise BundleError(f"{file} was written by a newer pixloop. Upgrade pixloop to read it.")
        manifest = Manifest.model_validate_json(text)
    except ValidationError as e:
        raise BundleError(f"{file} is not what pixloop writes: {e}") from e
    for name in (*manifest.files, *(graph.file for graph in manifest.graphs)):
        # A stranger's manifest must not make us read or load files outside the bundle.
        if "\0" in name or not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"{file}: {name!r} lies outside the bundle.")
    return manifest


class _Version(BaseModel):
    format_version: int
