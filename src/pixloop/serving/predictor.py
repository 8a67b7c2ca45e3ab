"""The model of a bundle, whatever its task, opened to answer."""

from pixloop.bundle import Bundle, Manifest
from pixloop.serving.classifier import Classifier
from pixloop.serving.detector import Detector
from pixloop.serving.engines import Engine, EngineSettings, open_engine

Predictor = Classifier | Detector


def open_predictor(
    bundle: Bundle, graph: str | None = None, settings: EngineSettings | None = None
) -> Predictor:
    """Load a graph of a bundle.

    Args:
        bundle: the bundle.
        graph: the graph's name; without one, the chosen one.
        settings: how it uses the machine; without them, all of it.

    Raises:
        BundleError: the bundle has no such graph, the graph's files are not those that were
            exported, or no engine runs the format here.
    """
    bundle.verify(bundle.graph_files(graph))
    manifest, found = bundle.manifest, bundle.graph(graph)
    engine = open_engine(
        bundle.graph_path(graph),
        found.format,
        manifest.task,
        manifest.preprocessing,
        found.precision,
        settings,
    )
    return make_predictor(manifest, engine)


def make_predictor(manifest: Manifest, engine: Engine) -> Predictor:
    """The predictor for a manifest's task over an engine that is already open."""
    if manifest.task == "classification":
        return Classifier(manifest, engine)
    return Detector(manifest, engine)
