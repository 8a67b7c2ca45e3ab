"""The model of a bundle, whatever its task, opened to answer."""

from pixloop.bundle import Bundle, Manifest
from pixloop.serving.classifier import Classifier
from pixloop.serving.detector import Detector
from pixloop.serving.engines import Engine, open_engine

Predictor = Classifier | Detector


def open_predictor(bundle: Bundle, graph: str | None = None) -> Predictor:
    """Load a graph of a bundle, the chosen one by default.

    Raises:
        BundleError: the bundle has no such graph, the graph's files are not those that were
            exported, or no torch-free engine runs the format.
    """
    bundle.verify(bundle.graph_files(graph))
    engine = open_engine(bundle.graph_path(graph), bundle.graph(graph).format, bundle.manifest.task)
    return make_predictor(bundle.manifest, engine)


def make_predictor(manifest: Manifest, engine: Engine) -> Predictor:
    """The predictor for a manifest's task over an engine that is already open."""
    if manifest.task == "classification":
        return Classifier(manifest, engine)
    return Detector(manifest, engine)
