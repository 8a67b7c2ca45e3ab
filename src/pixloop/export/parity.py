"""Whether a classifier's graph answers as the trained model does.

Every graph is held against the trained network (eval mode, float32) on the same test pictures, in
batches of 1, 3 and 17: a graph with a fixed batch, or a padded or reordered one, fails there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixloop.bundle import Graph
from pixloop.config import ExportConfig
from pixloop.errors import ExportError, ServingError
from pixloop.export.certificate import GraphParity, refuse, time_graphs
from pixloop.export.limits import limits_of
from pixloop.imaging import Preprocessing, read_input
from pixloop.progress import progress
from pixloop.serving.classifier import softmax
from pixloop.serving.engines import Engine, Logits, Outputs, PixelBatch, normalise_batch

BATCH_SIZES = (17, 3, 1)


@dataclass(slots=True)
class _Tally:
    """What a graph's answers have shown so far."""

    pictures: int = 0
    same_top: int = 0
    largest: float = 0.0
    total: float = 0.0
    failure: str | None = None

    def add(self, expected: Logits, answered: Logits) -> None:
        if answered.shape != expected.shape or not np.isfinite(answered).all():
            self.failure = (
                f"{len(expected)} pictures gave logits of shape {answered.shape}, or not finite; "
                f"expected finite ones of shape {expected.shape}"
            )
            return
        # At temperature 1: the bundle's own is fitted on the chosen graph, later.
        difference = np.abs(softmax(answered) - softmax(expected))
        self.pictures += len(expected)
        self.same_top += int((answered.argmax(1) == expected.argmax(1)).sum())
        self.largest = max(self.largest, float(difference.max()))
        self.total += float(difference.mean(axis=1).sum())


class Reference:
    """The trained network as an engine."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        self._network, self._preprocessing = network, preprocessing

    def __call__(self, pixels: PixelBatch) -> Outputs:
        """The logits (N, K) of ``pixels``, uint8 (N, size, size, 3), alone in a tuple.

        Raises:
            ExportError: the network answers with something that is not finite.
        """
        images = normalise_batch(pixels, self._preprocessing)
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._network(torch.from_numpy(images)).numpy()
        if not np.isfinite(logits).all():
            raise ExportError(
                "the trained model answers with NaN or infinity. Train it again, with a lower "
                "training.learning_rate."
            )
        return (logits,)


def compare(
    reference: Engine,
    engines: Mapping[Graph, Engine],
    batches: Iterable[PixelBatch],
    config: ExportConfig,
) -> list[GraphParity]:
    """Hold every engine against the reference, and measure how fast those are that agree.

    Args:
        reference: the trained network.
        engines: what is to be certified.
        batches: uint8 (N, size, size, 3) each, at least one; see ``input_batches``.
        config: how closely an engine must agree; see ``limits.limits_of``.
    """
    tallies = {graph: _Tally() for graph in engines}
    size = 0
    with one_torch_thread(), progress("comparing graphs") as advance:
        for pixels in batches:
            size, (expected,) = pixels.shape[1], reference(pixels)
            for graph, engine in engines.items():
                if tallies[graph].failure is None:
                    _ask(engine, pixels, expected, tallies[graph])
            advance(len(pixels))
    results = [_judge(graph, tally, config) for graph, tally in tallies.items()]
    return time_graphs(results, engines, size)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch compute on one thread.

    Its threads wait for each other after every layer, spinning. On a machine that has other work
    to do, as in a pipeline, two of them are many times slower than one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _ask(engine: Engine, pixels: PixelBatch, expected: Logits, tally: _Tally) -> None:
    try:
        (logits,) = engine(pixels)
        tally.add(expected, logits)
    except ServingError as e:
        tally.failure = str(e)


def _judge(graph: Graph, tally: _Tally, config: ExportConfig) -> GraphParity:
    if tally.failure is not None or not tally.pictures:
        reason = tally.failure or "it was compared on no picture"
        return refuse(graph.format, graph.precision, reason)
    limits = limits_of(config, graph.precision)
    agreement = tally.same_top / tally.pictures
    reasons = []
    if agreement < 1 - limits.accuracy_loss:
        reasons.append(
            f"it changes the top class of {1 - agreement:.2%} of the pictures; "
            f"export.max_accuracy_loss allows {limits.accuracy_loss:.2%}"
        )
    if tally.largest > limits.difference:
        reasons.append(
            f"it moves a probability by {tally.largest:.4g}; "
            f"{limits.difference_key} allows {limits.difference:.2g}"
        )
    return GraphParity(
        format=graph.format,
        precision=graph.precision,
        verdict="refused" if reasons else "agrees",
        reason=" and ".join(reasons) or "within both limits",
        pictures=tally.pictures,
        top1_agreement=agreement,
        largest_probability_difference=tally.largest,
        mean_probability_difference=tally.total / tally.pictures,
    )


def input_batches(
    read: Callable[[int], bytes], pictures: Sequence[int], preprocessing: Preprocessing
) -> Iterator[PixelBatch]:
    """Pictures in batches of every size in turn, until each picture had its turn.

    Few pictures are taken more than once, so that every batch size is tried.

    Args:
        read: the encoded picture of an index; pictures are read when they are needed.
        pictures: the indices, at least one.
        preprocessing: how a picture becomes input.
    """
    start = turn = 0
    while start < len(pictures) or turn < len(BATCH_SIZES):
        size = BATCH_SIZES[turn % len(BATCH_SIZES)]
        chosen = [pictures[i % len(pictures)] for i in range(start, start + size)]
        yield np.stack([read_input(read(i), preprocessing)[0] for i in chosen])
        start, turn = start + size, turn + 1
