"""The model of a bundle, whatever its task, opened to answer by the graph that is best here."""

import importlib.util
import logging
import platform

from pixloop.bundle import Bundle, Graph, Manifest
from pixloop.errors import BundleError
from pixloop.serving.classifier import Classifier
from pixloop.serving.detector import Detector
from pixloop.serving.engines import (
    RUNTIMES,
    Engine,
    EngineSettings,
    computes_in_bfloat16,
    computes_on_cuda,
    open_engine,
)

Predictor = Classifier | Detector

#: What Intel's and AMD's processors are called by the systems.
_X86 = ("x86_64", "AMD64", "i386", "i686")

log = logging.getLogger("pixloop.serving")


def open_predictor(
    bundle: Bundle, graph: str | None = None, settings: EngineSettings | None = None
) -> Predictor:
    """Load a graph of a bundle.

    Args:
        bundle: the bundle.
        graph: the graph's name; without one, what ``choose_graph`` takes.
        settings: how it uses the machine; without them, all of it.

    Raises:
        BundleError: the bundle has no such graph, the graph's files are not those that were
            exported, or no engine runs the format here.
    """
    manifest = bundle.manifest
    graph = choose_graph(manifest, graph)
    bundle.verify(bundle.graph_files(graph))
    found = bundle.graph(graph)
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


def choose_graph(manifest: Manifest, wanted: str | None = None) -> str:
    """The name of the graph to serve on this machine.

    It is the one that the export chose, as the fastest that agrees with the trained model, except
    where it cannot run or another is known to be faster: on an NVIDIA GPU and on processors that
    are not x86 the ONNX graph is preferred, a bfloat16 graph needs a CPU that computes in bfloat16,
    and TorchScript, which needs torch, comes last. The log says so where it is another.

    Args:
        manifest: tells the graphs there are, all of which agree with the trained model.
        wanted: takes this one, whatever the machine.

    Raises:
        BundleError: there is no graph called ``wanted``, or none that runs here.
    """
    graphs = {graph.name: graph for graph in manifest.graphs}
    if wanted is not None:
        if wanted not in graphs:
            raise BundleError(
                f"the bundle of {manifest.name!r} has no {wanted} graph; it has "
                f"{', '.join(graphs)}. Choose one of them as serving.graph, or none."
            )
        return wanted
    chosen = manifest.chosen_graph
    reasons: dict[str, str] = {}
    for name in _by_preference(chosen):
        if name not in graphs:
            continue
        reason = _why_not(graphs[name])
        if reason is None:
            if name != chosen:
                why = reasons.get(chosen, f"it is faster on this {platform.machine()} machine")
                log.warning("serving the %s graph instead of %s: %s", name, chosen, why)
            return name
        reasons[name] = reason
    raise BundleError(
        f"no graph of the bundle of {manifest.name!r} runs here: "
        + "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    )


def _by_preference(chosen: str) -> list[str]:
    """Names of graphs, the best for this machine first; those of the bundle are among them."""
    # Without bfloat16, the same files in float32.
    names = [chosen, chosen.removesuffix("-bfloat16"), "openvino", "onnx", "torchscript"]
    if computes_on_cuda() or platform.machine() not in _X86:
        names.insert(0, "onnx")
    return sorted(names, key="torchscript".__eq__)


def _why_not(graph: Graph) -> str | None:
    """Why a graph does not run here; None where it does."""
    package = RUNTIMES[graph.format]
    if importlib.util.find_spec(package) is None:
        return f"the package {package} is not installed"
    if graph.precision.endswith("bfloat16") and not computes_in_bfloat16():
        return "this CPU does not compute in bfloat16"
    return None
