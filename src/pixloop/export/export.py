"""A trained model becomes a bundle: graphs, certificate, then calibration, then the seal.

Calibration asks the chosen graph through the predictor that will serve it, so it comes between
the two halves here: ``write_graphs`` gives a draft that can predict, ``seal`` finishes it with
the temperature and the threshold that were found.
"""

import hashlib
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from torch import nn

from pixloop.bundle import (
    ARCHIVE,
    CERTIFICATE,
    MANIFEST,
    Bundle,
    Graph,
    GraphFormat,
    Manifest,
    Threshold,
    now,
    write_bundle,
)
from pixloop.config import Config
from pixloop.data.dataset import Dataset, Split
from pixloop.errors import BundleError, ExportError
from pixloop.export import onnx, openvino, torchscript
from pixloop.export.latency import describe_machine
from pixloop.export.parity import (
    BATCH_SIZES,
    Certificate,
    GraphParity,
    Reference,
    StoredPicture,
    choose,
    compare,
    input_batches,
    one_torch_thread,
    refuse,
)
from pixloop.files import atomic_path, pack, write_text
from pixloop.imaging import Preprocessing, decode_image, open_image, to_input
from pixloop.serving.engines import Engine, open_engine
from pixloop.serving.predictor import Predictor
from pixloop.training.models import TrainedModel, load_model

Writer = Callable[[nn.Module, Preprocessing, Path], Graph]

#: In the order of writing: OpenVINO's reads what ONNX's wrote.
WRITERS: Mapping[GraphFormat, Writer] = {
    "torchscript": torchscript.write,
    "onnx": onnx.write,
    "openvino": openvino.write,
}
_COMPARED = 500  # test pictures; more would not change a verdict, only take time
_STORED, _STORED_BYTES = 8, 200_000
_LIBRARIES = ("pixloop", "torch", "timm", "onnx", "onnxruntime", "openvino", "numpy", "pillow")


@dataclass(frozen=True)
class Draft:
    """A bundle that is not yet sealed: it has no bundle.json on disk.

    Attributes:
        folder: the bundle to be.
        manifest: complete but for the temperature (1 until then) and the threshold (which refers
            everything until then).
        certificate: how the graphs compare with the trained model.
    """

    folder: Path
    manifest: Manifest
    certificate: Certificate

    def predictor(self) -> Predictor:
        """Predicts with the chosen graph. Its logits are what calibration needs."""
        chosen = self.manifest.chosen_graph
        graph = next(g for g in self.manifest.graphs if g.format == chosen)
        return Predictor(self.manifest, open_graph(self.folder, graph))


def write_graphs(config: Config, model: Path, dataset: Path, output: Path) -> Draft:
    """Write every graph of ``config.export.formats``, certify them and choose one.

    Args:
        config: ``export`` and ``name`` are read.
        model: the folder that ``save_model`` wrote.
        dataset: the data set's folder; its test pictures are compared.
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
    network = trained.network.cpu().float().eval()
    results, graphs = _certify(config, network, trained.preprocessing, test, output)
    certificate = Certificate(
        reference=f"{trained.name} in torch, float32",
        batch_sizes=BATCH_SIZES,
        max_accuracy_loss=config.export.max_accuracy_loss,
        max_probability_difference=config.export.max_probability_difference,
        graphs=tuple(results),
        chosen_graph=choose(results),
        machine=describe_machine(),
        versions=_versions(),
        pictures=tuple(_store(test, network, trained.preprocessing, output)),
    )
    write_text(output / CERTIFICATE, certificate.model_dump_json(indent=2) + "\n")
    return Draft(output, _manifest(config, trained, data, graphs, certificate), certificate)


def seal(draft: Draft, temperature: float, threshold: Threshold) -> Bundle:
    """Finish a draft: write ``bundle.json``, then pack it all as ``model.tar.gz`` beside it."""
    manifest = Manifest.model_validate(
        {
            **draft.manifest.model_dump(),
            "temperature": temperature,
            "threshold": threshold.model_dump(),
            "created": now(),
        }
    )
    bundle = write_bundle(draft.folder, manifest)
    pack(draft.folder, draft.folder / ARCHIVE)
    return bundle


def open_graph(folder: Path, graph: Graph) -> Engine:
    """The engine of any graph, TorchScript's too, which serving has none for."""
    if graph.format == "torchscript":
        return torchscript.TorchScriptEngine(folder / graph.file)
    return open_engine(folder / graph.file, graph.format)


def _certify(
    config: Config,
    network: nn.Module,
    preprocessing: Preprocessing,
    test: Split,
    output: Path,
) -> tuple[list[GraphParity], list[Graph]]:
    """Every format's result, and the graphs that agree; the files of the others are removed."""
    graphs: list[Graph] = []
    engines: dict[GraphFormat, Engine] = {}
    refused: list[GraphParity] = []
    for format_ in (f for f in WRITERS if f in config.export.formats):
        try:
            graph = WRITERS[format_](network, preprocessing, output)
            engines[format_] = open_graph(output, graph)
            graphs.append(graph)
        except (ExportError, BundleError) as e:
            refused.append(refuse(format_, str(e)))
    pictures = _evenly(_COMPARED, len(test))
    batches = input_batches(lambda i: test.read(i).image, pictures, preprocessing)
    results = compare(Reference(network), engines, batches, config.export)
    results += refused
    agreeing = {result.format for result in results if result.verdict == "agrees"}
    for graph in graphs:
        if graph.format not in agreeing:
            _remove(output, graph)
    return results, [graph for graph in graphs if graph.format in agreeing]


def _evenly(count: int, total: int) -> list[int]:
    """At most ``count`` of ``total`` indices, evenly spread, so that every class has its part."""
    return [int(i) for i in np.linspace(0, total - 1, min(count, total)).round()]


def _store(
    test: Split, network: nn.Module, preprocessing: Preprocessing, output: Path
) -> list[StoredPicture]:
    """A few pictures with the answers that they must get wherever the bundle is deployed."""
    reference, stored = Reference(network), []
    for index in _evenly(_STORED, len(test)):
        row = test.read(index)
        sha256 = hashlib.sha256(row.image).hexdigest()
        file = None
        if len(row.image) <= _STORED_BYTES:
            suffix = (open_image(row.image).format or "bin").lower()
            file = f"certificate/{sha256[:12]}.{suffix}"
            with atomic_path(output / file) as temporary:
                temporary.write_bytes(row.image)
        with one_torch_thread():
            logits = reference(to_input(decode_image(row.image), preprocessing)[None])[0]
        stored.append(
            StoredPicture(sha256=sha256, path=row.path, file=file, logits=tuple(logits.tolist()))
        )
    return stored


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
    for name in ("graphs", "certificate"):
        shutil.rmtree(output / name, ignore_errors=True)


def _remove(output: Path, graph: Graph) -> None:
    (output / graph.file).unlink()
    if graph.format == "openvino":
        (output / graph.file).with_suffix(".bin").unlink()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
