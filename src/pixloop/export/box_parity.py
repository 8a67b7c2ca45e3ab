"""Whether a detector's graph finds what the trained model finds.

Reference is torchvision's own forward on lists of pictures, so that the rewriting for graphs
(``detector_graph``) is certified too, and not only what exporters make of it.

``box_matching`` says which boxes match, and which are cut-off ties and not counted. Nor are boxes
that no predictor answers: those in the margin of the input, where there is no picture, and those
thinner than a tenth of a pixel.

A graph agrees if of all boxes at most ``export.max_accuracy_loss`` are unmatched, and under no
condition (see ``box_conditions``) more than ten times that share: which of two overlapping boxes of
equal score survives is up to rounding as well, and where there are few boxes one of them weighs
much. A box on a picture in which the model finds nothing is always too many.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from pixloop.bundle import Graph
from pixloop.config import ExportConfig
from pixloop.errors import ExportError, ServingError
from pixloop.export.box_conditions import Batch
from pixloop.export.box_matching import Boxes, Tally, add_up
from pixloop.export.certificate import BoxParity, GraphParity, refuse, time_graphs
from pixloop.export.limits import Limits, limits_of
from pixloop.export.parity import one_torch_thread
from pixloop.imaging import Preprocessing
from pixloop.progress import progress
from pixloop.serving.engines import Engine, Outputs, PixelBatch, normalise_batch

_THINNEST_PX = 0.1
_FEW_BOXES = 10  # times the allowed share may be unmatched under a single condition


class BoxReference:
    """The trained detector as an engine that answers as its graphs do."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        """Take torchvision's Faster R-CNN, RetinaNet or SSD, in eval mode."""
        self._network, self._preprocessing = network, preprocessing
        settings: Any = getattr(network, "roi_heads", network)
        self.least_score = float(settings.score_thresh)
        self._most = int(settings.detections_per_img)

    def __call__(self, pixels: PixelBatch) -> Outputs:
        """What is in ``pixels``, uint8 (N, size, size, 3), as ``bundle.Graph`` says.

        Raises:
            ExportError: the network answers with something that is not finite.
        """
        count = len(pixels)
        boxes = np.zeros((count, self._most, 4), np.float32)
        scores = np.zeros((count, self._most), np.float32)
        labels = np.zeros((count, self._most), np.int64)
        with torch.inference_mode():
            images = torch.from_numpy(normalise_batch(pixels, self._preprocessing))
            answers = self._network(list(images))
        for i, answer in enumerate(answers):
            of_class = answer["labels"] > 0  # 0 is the background
            found = int(of_class.sum())
            boxes[i, :found] = answer["boxes"][of_class]
            scores[i, :found] = answer["scores"][of_class]
            labels[i, :found] = answer["labels"][of_class] - 1
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ExportError(
                "the trained model answers with NaN or infinity. Train it again, with a lower "
                "training.learning_rate."
            )
        return boxes, scores, labels


@dataclass(slots=True)
class _Comparison:
    """What a graph's answers have shown so far, condition by condition."""

    limits: Limits
    tallies: dict[str, Tally] = field(default_factory=dict)
    failure: str | None = None


def compare_boxes(
    reference: BoxReference,
    engines: Mapping[Graph, Engine],
    batches: Iterable[Batch],
    config: ExportConfig,
) -> list[GraphParity]:
    """Hold every engine against the reference, and measure how fast those are that agree.

    Args:
        reference: the trained network.
        engines: what is to be certified.
        batches: at least one; see ``box_conditions.box_batches``.
        config: how closely an engine must agree; see ``limits.limits_of``.
    """
    comparisons = {graph: _Comparison(limits_of(config, graph.precision)) for graph in engines}
    size = 0
    with one_torch_thread(), progress("comparing graphs") as advance:
        for batch in batches:
            size, expected = batch.pixels.shape[1], reference(batch.pixels)
            for graph, engine in engines.items():
                if comparisons[graph].failure is None:
                    _ask(engine, batch, expected, reference.least_score, comparisons[graph])
            advance(len(batch.pixels))
    results = [_judge(graph, each) for graph, each in comparisons.items()]
    return time_graphs(results, engines, size)


def _ask(
    engine: Engine,
    batch: Batch,
    expected: Outputs,
    least_score: float,
    comparison: _Comparison,
) -> None:
    try:
        answered = engine(batch.pixels)
    except ServingError as e:
        comparison.failure = f"{batch.condition}: {e}"
        return
    fault = _fault(answered, len(batch.pixels))
    if fault is not None:
        comparison.failure = f"{batch.condition}: {fault}"
        return
    tally = comparison.tallies.setdefault(batch.condition, Tally())
    for i, fitted in enumerate(batch.fitted):
        there = seen_boxes(answered, i, fitted, least_score)
        tally.add(seen_boxes(expected, i, fitted, least_score), there, comparison.limits)


def _fault(outputs: Outputs, count: int) -> str | None:
    """What is wrong with the form of an answer to ``count`` pictures."""
    shapes = tuple(output.shape for output in outputs)
    places = shapes[1][1] if len(shapes) == 3 and len(shapes[1]) == 2 else 0
    if shapes != ((count, places, 4), (count, places), (count, places)):
        return f"{count} pictures gave boxes, scores and labels of shapes {shapes}"
    if not all(np.isfinite(output).all() for output in outputs):
        return f"{count} pictures gave boxes or scores that are not finite"
    return None


def seen_boxes(
    outputs: Outputs, picture: int, fitted: tuple[int, int], least_score: float
) -> Boxes:
    """One picture's boxes, as far as they are in it and not too thin."""
    boxes, scores, labels = (output[picture] for output in outputs)
    there = scores > 0
    cut_off = max(least_score, float(scores.min())) if there.all() else least_score
    inside = np.minimum(boxes, np.array(fitted * 2, boxes.dtype))
    there &= ((inside[:, 2:] - inside[:, :2]) >= _THINNEST_PX).all(1)
    return Boxes(boxes[there], scores[there], labels[there], cut_off)


def _judge(graph: Graph, comparison: _Comparison) -> GraphParity:
    tallies, limits = comparison.tallies, comparison.limits
    if comparison.failure is not None or not tallies:
        reason = comparison.failure or "it was compared on no picture"
        return refuse(graph.format, graph.precision, reason)
    everything = add_up(tallies.values())
    reasons = [
        f"{condition}: {1 - tally.matched_share:.2%} of the boxes differ"
        for condition, tally in tallies.items()
        if 1 - tally.matched_share > _FEW_BOXES * limits.accuracy_loss
    ]
    if everything.ghosts:
        reasons.append(f"{everything.ghosts} boxes on pictures in which the model finds nothing")
    if 1 - everything.matched_share > limits.accuracy_loss:
        reasons.append(
            f"in all {1 - everything.matched_share:.2%} of the boxes differ (overlap under "
            f"{limits.box_iou}, score off by over {limits.difference}, or "
            f"another label); export.max_accuracy_loss allows {limits.accuracy_loss:.2%}"
        )
    whole = _describe("all", everything)
    return GraphParity(
        format=graph.format,
        precision=graph.precision,
        verdict="refused" if reasons else "agrees",
        reason="; ".join(reasons) or "within the limits under every condition",
        pictures=whole.pictures,
        boxes=whole.boxes,
        matched_share=whole.matched_share,
        smallest_iou=whole.smallest_iou,
        largest_score_difference=whole.largest_score_difference,
        conditions=tuple(_describe(name, tally) for name, tally in tallies.items()),
    )


def _describe(condition: str, tally: Tally) -> BoxParity:
    measured = tally.matched > 0
    return BoxParity(
        condition=condition,
        pictures=tally.pictures,
        empty_pictures=tally.empty_pictures,
        boxes=tally.expected,
        unmatched=tally.unmatched,
        cut_off=tally.cut_off,
        matched_share=tally.matched_share,
        smallest_iou=tally.smallest_iou if measured else None,
        largest_score_difference=tally.largest_difference if measured else None,
    )
