"""A trained model becomes a bundle: graphs, certificate, then calibration, then the seal.

Calibration asks the chosen graph through the predictor that will serve it, so it comes between
the two halves here: ``write_graphs`` gives a draft that can predict, ``calibrate`` completes it
with what was found, and ``seal`` finishes it.
"""

import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from torch import nn

from pixloop.bundle import (
    ARCHIVE,
    CERTIFICATE,
    MANIFEST,
    BoxScores,
    Bundle,
    Graph,
    GraphFormat,
    Manifest,
    Precision,
    ReferenceRecord,
    Task,
    Threshold,
    now,
    write_bundle,
)
from pixloop.config import Config
from pixloop.data.dataset import Dataset, Split
from pixloop.errors import BundleError, ExportError
from pixloop.export import onnx, openvino, quantisation, torchscript
from pixloop.export.box_conditions import BOX_BATCH_SIZES, box_batches
from pixloop.export.box_parity import BoxReference, compare_boxes
from pixloop.export.certificate import Certificate, GraphParity, choose, refuse
from pixloop.export.detector_graph import DetectorGraph
from pixloop.export.latency import describe_machine
from pixloop.export.parity import BATCH_SIZES, Reference, compare, input_batches
from pixloop.export.stored_pictures import spread_evenly, store_pictures, stored_indices
from pixloop.files import pack, write_text
from pixloop.imaging import Preprocessing, read_input
from pixloop.serving.classifier import Classifier
from pixloop.serving.detector import Detector
from pixloop.serving.engines import Engine, computes_in_bfloat16, open_engine
from pixloop.serving.predictor import make_predictor
from pixloop.training.models import TrainedModel, load_model

Writer = Callable[[nn.Module, Preprocessing, Path, Task], Graph]

#: In the order of writing: OpenVINO's reads what ONNX's wrote.
WRITERS: Mapping[GraphFormat, Writer] = {
    "torchscript": torchscript.write,
    "onnx": onnx.write,
    "openvino": openvino.write,
}
#: Test pictures; more would not change a verdict, only take time.
_COMPARED: Mapping[Task, int] = {"classification": 500, "detection": 200}
_LIBRARIES = (
    "pixloop", "torch", "timm", "onnx", "onnxruntime", "openvino", "nncf", "numpy", "pillow",
)  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """A bundle that is not yet sealed: it has no bundle.json on disk.

    Attributes:
        folder: the bundle to be.
        manifest: complete but for the temperature (1 until then), the meaning of a detector's
            scores (taken as they are until then) and the threshold (which refers everything until
            then).
        certificate: how the graphs compare with the trained model.
    """

    folder: Path
    manifest: Manifest
    certificate: Certificate

    def predictor(self) -> Classifier | Detector:
        """Predicts with the chosen graph. What it says is what calibration needs."""
        chosen = self.manifest.chosen_graph
        graph = next(g for g in self.manifest.graphs if g.name == chosen)
        manifest = self.manifest
        engine = open_graph(self.folder, graph, manifest.task, manifest.preprocessing)
        return make_predictor(manifest, engine)


def write_graphs(config: Config, model: Path, dataset: Path, output: Path) -> Draft:
    """Write every graph of ``config.export.formats``, in every precision; certify and choose one.

    Args:
        config: ``export`` and ``name`` are read.
        model: the folder that ``save_model`` wrote.
        dataset: the data set's folder; its test pictures are compared, and by its validation
            pictures graphs are quantised.
        output: the bundle's folder; an older bundle there is replaced.

    Raises:
        ExportError: the model is not of this data set, there are no test pictures, or no graph
            agrees with the model.
    """
    trained, data = load_model(model), Dataset.open(dataset)
    if trained.classes != data.info.classes:
        raise ExportError(
            f"{model} tells {', '.join(trained.classes)} apart, but {dataset} holds "
            f"{', '.join(data.info.classes)}. Export with the data set that it was trained on."
        )
    test = data.split("test")
    if not len(test):
        raise ExportError(f"{dataset} has no test pictures to certify graphs with.")
    _clear(output)
    trained.network.cpu().float().eval()
    results, graphs = _certify(config, trained, data, output)
    detects = trained.task == "detection"
    certificate = Certificate(
        reference=f"{trained.name} in torch, float32",
        batch_sizes=BOX_BATCH_SIZES if detects else BATCH_SIZES,
        max_accuracy_loss=config.export.max_accuracy_loss,
        max_probability_difference=config.export.max_probability_difference,
        min_box_iou=config.export.min_box_iou if detects else None,
        max_reduced_difference=config.export.max_reduced_difference,
        min_reduced_box_iou=config.export.min_reduced_box_iou if detects else None,
        graphs=tuple(results),
        chosen_graph=choose(results),
        machine=describe_machine(),
        versions=_versions(),
        pictures=tuple(store_pictures(test, trained, output)),
    )
    write_text(output / CERTIFICATE, certificate.model_dump_json(indent=2) + "\n")
    return Draft(output, _manifest(config, trained, data, graphs, certificate), certificate)


def calibrate(
    draft: Draft,
    threshold: Threshold,
    *,
    temperature: float = 1.0,
    box_scores: BoxScores | None = None,
) -> Draft:
    """The draft, with what its scores mean and from which on they are accepted.

    Args:
        draft: what ``write_graphs`` gave.
        threshold: from which score on predictions are accepted.
        temperature: of a classifier's probabilities.
        box_scores: what a detector's scores mean.
    """
    manifest = Manifest.model_validate(
        {
            **draft.manifest.model_dump(),
            "temperature": temperature,
            "box_scores": box_scores and box_scores.model_dump(),
            "threshold": threshold.model_dump(),
        }
    )
    return replace(draft, manifest=manifest)


def seal(draft: Draft, reference: ReferenceRecord | None = None) -> Bundle:
    """Finish a calibrated draft: write ``bundle.json``, then pack it all as ``model.tar.gz``.

    Args:
        draft: what ``calibrate`` gave.
        reference: what was written into it to test drift against.
    """
    manifest = draft.manifest.model_copy(update={"created": now(), "reference": reference})
    bundle = write_bundle(draft.folder, manifest)
    pack(draft.folder, draft.folder / ARCHIVE)
    return bundle


def open_graph(folder: Path, graph: Graph, task: Task, preprocessing: Preprocessing) -> Engine:
    """The engine of a graph, as it will be served."""
    return open_engine(folder / graph.file, graph.format, task, preprocessing, graph.precision)


def _certify(
    config: Config, trained: TrainedModel, data: Dataset, output: Path
) -> tuple[list[GraphParity], list[Graph]]:
    """Every graph's result, and the graphs that agree; the files of the others are removed."""
    engines, refused = _write_all(config, trained, data.split("validation"), output)
    results = _compare(config, trained, engines, data.split("test")) + refused
    agreeing = {result.name for result in results if result.verdict == "agrees"}
    kept = [graph for graph in engines if graph.name in agreeing]
    for file in {graph.file for graph in engines} - {graph.file for graph in kept}:
        _remove(output, file)
    return results, kept


def _write_all(
    config: Config, trained: TrainedModel, validation: Split, output: Path
) -> tuple[dict[Graph, Engine], list[GraphParity]]:
    """The engine of every graph that could be written, and why the others could not."""
    engines: dict[Graph, Engine] = {}
    refused: list[GraphParity] = []
    network, preprocessing = graph_network(trained), trained.preprocessing

    def attempt(format_: GraphFormat, precision: Precision, write: Callable[[], Graph]) -> None:
        try:
            graph = write()
            engines[graph] = open_graph(output, graph, trained.task, preprocessing)
        except (ExportError, BundleError) as e:
            refused.append(refuse(format_, precision, str(e)))

    for format_ in (f for f in WRITERS if f in config.export.formats):
        write = partial(WRITERS[format_], network, preprocessing, output, trained.task)
        attempt(format_, "float32", write)
    if any(graph.format == "openvino" for graph in engines):
        for precision in _reduced_precisions(config):
            attempt("openvino", precision, partial(_reduce, trained, validation, output, precision))
    return engines, refused


def _reduced_precisions(config: Config) -> list[Precision]:
    """What OpenVINO is to compute in besides float32, as far as this CPU does."""
    bfloat16 = "bfloat16" in config.export.precisions and computes_in_bfloat16()
    precisions: list[Precision] = ["bfloat16"] if bfloat16 else []
    if "int8" in config.export.precisions:
        precisions += ["int8", "int8-bfloat16"] if bfloat16 else ["int8"]
    return precisions


def _reduce(trained: TrainedModel, validation: Split, output: Path, precision: Precision) -> Graph:
    """OpenVINO's graph in a reduced precision; its files are written where they are not yet."""
    if precision == "bfloat16":
        return Graph(format="openvino", file=openvino.FILE, precision=precision)
    if not (output / quantisation.FILE).is_file():
        pictures = spread_evenly(quantisation.MOST_PICTURES, len(validation))
        pixels = (read_input(validation.read(i).image, trained.preprocessing)[0] for i in pictures)
        quantisation.write(pixels, trained.preprocessing, output, trained.task)
    return Graph(format="openvino", file=quantisation.FILE, precision=precision)


def graph_network(trained: TrainedModel) -> nn.Module:
    """What is written as a graph: the network, or the rewriting of a detector."""
    if trained.task == "classification":
        return trained.network
    return DetectorGraph(trained.network, trained.preprocessing.image_size).eval()


def _compare(
    config: Config, trained: TrainedModel, engines: Mapping[Graph, Engine], test: Split
) -> list[GraphParity]:
    pictures = sorted(
        {*spread_evenly(_COMPARED[trained.task], len(test)), *stored_indices(len(test))}
    )

    def read(index: int) -> bytes:
        return test.read(index).image

    if trained.task == "classification":
        batches = input_batches(read, pictures, trained.preprocessing)
        return compare(
            Reference(trained.network, trained.preprocessing), engines, batches, config.export
        )
    conditions = box_batches(read, pictures, trained.preprocessing)
    return compare_boxes(
        BoxReference(trained.network, trained.preprocessing), engines, conditions, config.export
    )


def _manifest(
    config: Config,
    trained: TrainedModel,
    data: Dataset,
    graphs: Sequence[Graph],
    certificate: Certificate,
) -> Manifest:
    pending = Threshold(
        score=None,
        max_error=config.thresholds.max_error,
        confidence=config.thresholds.confidence,
        accepted_share=0.0,
        error=None,
        pictures=0,
    )
    return Manifest(
        name=config.name,
        task=trained.task,
        created=now(),
        classes=trained.classes,
        preprocessing=trained.preprocessing,
        graphs=tuple(graphs),
        chosen_graph=certificate.chosen_graph,
        temperature=1.0,
        threshold=pending,
        lineage={"model": trained.name, "dataset_sha256": data.info.sha256, **trained.lineage},
        versions=certificate.versions,
    )


def _clear(output: Path) -> None:
    """Remove an older bundle; its manifest first, so that what is left is no bundle."""
    for name in (MANIFEST, ARCHIVE, CERTIFICATE):
        (output / name).unlink(missing_ok=True)
    for name in ("graphs", "certificate", "reference"):
        shutil.rmtree(output / name, ignore_errors=True)


def _remove(output: Path, file: str) -> None:
    (output / file).unlink()
    (output / file).with_suffix(".bin").unlink(missing_ok=True)  # OpenVINO's


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
