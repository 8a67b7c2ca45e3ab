"""The parity certificate: whether each graph answers as the trained model does, and how fast."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pixloop.bundle import Graph, GraphFormat, Precision, graph_name
from pixloop.errors import ExportError
from pixloop.export.latency import Machine, measure
from pixloop.records import Xyxy
from pixloop.serving.engines import Engine

_TIE = 0.03  # throughputs that differ by less are the same


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BoxParity(_Part):
    """How a detector's graph compares under one condition. ``box_parity`` says what a match is."""

    condition: str  #: in words: which pictures, in which batches
    pictures: int  #: how many were compared
    empty_pictures: int  #: in how many of them the trained model finds nothing
    boxes: int  #: of the trained model, without cut-off ties
    unmatched: int  #: boxes of the trained model or of the graph that the other has not
    cut_off: int  #: cut-off ties, which are not counted otherwise
    matched_share: float  #: of the boxes of both
    smallest_iou: float | None  #: of matched boxes
    largest_score_difference: float | None  #: of matched boxes


class GraphParity(_Part):
    """How one graph compares. What could not be measured, or is of the other task, is None."""

    format: GraphFormat
    precision: Precision = "float32"
    verdict: Literal["agrees", "refused"]
    reason: str  #: in words
    pictures: int = 0  #: how many were compared
    latency_ms: float | None = None  #: median of a lone picture, without decoding
    pictures_per_s: float | None = None  #: in batches on all cores, without decoding

    # Classification
    top1_agreement: float | None = None  #: share of pictures with the trained model's top class
    largest_probability_difference: float | None = None  #: over pictures and classes
    mean_probability_difference: float | None = None

    # Detection: over all conditions, then one by one
    boxes: int | None = None  #: as in ``BoxParity``, as the next three
    matched_share: float | None = None
    smallest_iou: float | None = None
    largest_score_difference: float | None = None
    conditions: tuple[BoxParity, ...] | None = None

    @property
    def name(self) -> str:
        """The graph's, as ``bundle.Graph.name``."""
        return graph_name(self.format, self.precision)


class StoredBox(_Part):
    """A box of a stored picture."""

    label: str
    score: float  #: as the network gives it, before calibration
    xyxy: Xyxy  #: in pixels of the upright picture


class StoredPicture(_Part):
    """A picture and what the trained model answers, to check a deployment by."""

    sha256: str  #: of the encoded picture
    path: str  #: in the data set
    file: str | None  #: in the bundle; None in bundles that did not carry large pictures
    logits: tuple[float, ...] | None = None  #: of a classifier
    boxes: tuple[StoredBox, ...] | None = None  #: of a detector, the surest first


class Certificate(_Part):
    """The content of certificate.json."""

    reference: str  #: what the graphs were held against
    batch_sizes: tuple[int, ...]
    max_accuracy_loss: float
    max_probability_difference: float
    min_box_iou: float | None = None  #: in detection
    max_reduced_difference: float | None = None  #: older certificates know no reduced precision
    min_reduced_box_iou: float | None = None  #: in detection
    graphs: tuple[GraphParity, ...]
    chosen_graph: str  #: its name
    machine: Machine
    versions: dict[str, str]
    pictures: tuple[StoredPicture, ...]


def refuse(format_: GraphFormat, precision: Precision, reason: str) -> GraphParity:
    """The entry of a graph that could not even be compared."""
    return GraphParity(format=format_, precision=precision, verdict="refused", reason=reason)


def time_graphs(
    results: Sequence[GraphParity], engines: Mapping[Graph, Engine], image_size: int
) -> list[GraphParity]:
    """The same results, with the speed of those graphs that agree, measured side by side."""
    of_name = {graph.name: engine for graph, engine in engines.items()}
    agreeing = {r.name: of_name[r.name] for r in results if r.verdict == "agrees"}
    speeds = measure(agreeing, image_size)
    return [
        result.model_copy(update=asdict(speeds[result.name])) if result.name in speeds else result
        for result in results
    ]


def choose(results: Sequence[GraphParity]) -> str:
    """The name of the fastest graph among those that agree.

    Fastest is what computes the most pictures a second on all cores, as a busy server does; among
    those that differ by no more than measuring does, the one with the lowest latency.

    TorchScript is chosen only where nothing else agrees: few servers have torch to run it.

    Raises:
        ExportError: no graph agrees; the message says why for each.
    """
    agreeing = [result for result in results if result.verdict == "agrees"]
    if not agreeing:
        reasons = "; ".join(f"{result.name}: {result.reason}" for result in results)
        raise ExportError(f"no exported graph agrees with the trained model. {reasons}.")
    candidates = [r for r in agreeing if r.format != "torchscript"] or agreeing
    most = max(result.pictures_per_s or 0.0 for result in candidates)
    fastest = [r for r in candidates if (r.pictures_per_s or 0.0) >= (1 - _TIE) * most]
    return min(fastest, key=lambda result: result.latency_ms or float("inf")).name
