"""Any number of pictures in, a folder of answers out: in parts, each of which is done or not.

What is to be done is listed first (``parts.py``). Then whoever computes takes the parts that have
no file of answers yet: this process, or a cluster (``on_ray.py``). At the end every file is looked
at before ``_summary.json`` says that all is there. So whatever is killed when, the same command
goes on, and each picture has exactly one row.
"""

import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from pixloop.bundle import MANIFEST, Bundle
from pixloop.errors import ConfigError, DataError
from pixloop.files import sha256_file
from pixloop.picture_predictions.batch_output import PLAN, BatchOutput
from pixloop.picture_predictions.computing import predict_parts
from pixloop.picture_predictions.listing import Input
from pixloop.picture_predictions.part_answers import Facts
from pixloop.picture_predictions.parts import Answering, Head, Plan
from pixloop.picture_predictions.places import Stores, address_of, is_remote
from pixloop.picture_predictions.planning import OtherPictures, write_grown, write_plan
from pixloop.picture_predictions.record import Summary
from pixloop.progress import Advance, progress


class BatchSummary(Summary):
    """What the answers of all parts come to: the content of _summary.json.

    Attributes:
        model: name and version of what answered.
        graph: of its graphs, the one that was computed.
        bundle: the SHA-256 of its bundle.json.
        input: addresses of what was predicted.
        parts: how many files the answers are in.
        seconds: that this run took.
    """

    model: str
    graph: str
    bundle: str
    input: tuple[str, ...]
    parts: int
    seconds: float


@dataclass(frozen=True)
class Batch:
    """What is computed: the parts of a plan by a bundle, into an output."""

    bundle: Bundle
    plan: Plan
    output: BatchOutput
    stores: Stores


#: Computes parts and publishes their answers; ``advance`` is told of pictures.
Engine = Callable[[Batch, list[int], Advance], None]


def predict_batch(
    bundle: Bundle,
    model: str,
    places: Iterable[str | Path],
    output: str | Path,
    *,
    column: str | None = None,
    restart: bool = False,
    engine: Engine | None = None,
) -> BatchSummary:
    """Predict picture files, or the pictures in Parquet files, into a folder of Parquet files.

    Args:
        bundle: what answers.
        model: what it is called.
        places: folders, files, and addresses on S3.
        output: a folder, or an address on S3. What an interrupted run left there is gone on with;
            so is what a finished one left, where pictures have come since.
        column: the Parquet files' column of pictures, where names and types do not say it.
        restart: where what is there is of another model or other pictures, or pictures have come
            since, delete it, and begin anew.
        engine: what computes; this process, if it is None.

    Raises:
        ConfigError: an address cannot be, the output lies in what is predicted, or a place lies
            in another.
        DataError: there is nothing to predict; the output is that of another model or other
            pictures; something cannot be read or written.
    """
    begun = time.monotonic()
    stores = Stores()
    asked = Input(places=tuple(map(address_of, places)), column=column)
    target = BatchOutput(_apart(address_of(output), asked.places), stores)
    with target.lock(), _open_plan(target, asked, bundle, model, restart, stores) as plan:
        done = {facts.part: facts.summary.pictures for facts in target.finished(plan)}
        earlier = sum(done.values())
        missing = [number for number in range(plan.head.parts) if number not in done]
        with progress("predicting", plan.head.pictures, after_s=2.0) as advance:
            advance(earlier)
            if missing:
                (engine or predict_here)(Batch(bundle, plan, target, stores), missing, advance)
        whole = _sum(plan, target.finished(plan))
        target.check()
        summary = BatchSummary(
            **whole.model_dump(exclude={"earlier", "output"}),
            earlier=earlier,
            output=target.address,
            **plan.head.answering.model_dump(),
            input=asked.places,
            parts=plan.head.parts,
            seconds=round(time.monotonic() - begun, 3),
        )
        target.publish_summary(summary.model_dump_json(indent=2) + "\n")
    return summary


def predict_here(batch: Batch, parts: list[int], advance: Advance) -> None:
    """Compute parts in this process, on all its cores. It is an ``Engine``."""
    # The inference engine takes a while to import, and listing may fail before.
    from pixloop.serving.predictor import open_predictor

    predictor = open_predictor(batch.bundle, batch.plan.head.answering.graph)
    for facts, file in predict_parts(
        predictor.predict_each, batch.plan, batch.stores, parts, advance
    ):
        batch.output.publish(file, facts.part)


def _open_plan(
    target: BatchOutput,
    asked: Input,
    bundle: Bundle,
    model: str,
    restart: bool,
    stores: Stores,
) -> Plan:
    """The list that the output was begun with, where it is of this input and model; else a new one.

    Where pictures have come since, it has grown by them, unless it is to be begun anew.

    Raises:
        DataError: it is of another, and is not to be begun anew.
    """
    earlier = target.open_plan()
    if earlier is None:
        return _begin(target, asked, bundle, model, stores)
    with ExitStack() as opened, TemporaryDirectory(prefix="pixloop-") as folder:
        opened.enter_context(earlier)
        local = Path(folder) / PLAN
        try:
            _check_same(earlier.head, asked, bundle, model)
            has_grown = write_grown(local, earlier, stores)
        except OtherPictures as e:
            if not restart:
                raise DataError(
                    f"{target.address} was begun {e}. Add --restart to begin anew, or name "
                    "another output."
                ) from e
            has_grown = True
        if not has_grown:
            opened.pop_all()
            return earlier
        if not restart:
            return _publish(target, local)
    return _begin(target, asked, bundle, model, stores)


def _begin(target: BatchOutput, asked: Input, bundle: Bundle, model: str, stores: Stores) -> Plan:
    # The inference engine takes a while to import.
    from pixloop.serving.predictor import choose_graph

    graph = choose_graph(bundle.manifest)
    answering = Answering(model=model, bundle=_identity(bundle), graph=graph)
    with TemporaryDirectory(prefix="pixloop-") as folder:
        local = Path(folder) / PLAN
        write_plan(local, asked, answering, stores)
        # Not before all is listed: what is wrong with the input costs nobody earlier answers.
        target.clear()
        return _publish(target, local)


def _publish(target: BatchOutput, local: Path) -> Plan:
    target.publish_plan(local)
    plan = target.open_plan()
    assert plan is not None  # noqa: S101 - it was written
    return plan


def _check_same(head: Head, asked: Input, bundle: Bundle, model: str) -> None:
    """Raises OtherPictures where another model was begun with, or another input."""
    if head.answering.bundle != _identity(bundle):
        raise OtherPictures(
            f"with another model: {head.answering.model} answered, and {model} would now"
        )
    if head.input != asked:
        raise OtherPictures(f"for another input: {_named(head.input)}, and not {_named(asked)}")


def _named(asked: Input) -> str:
    column = f", column {asked.column}" if asked.column else ""
    return ", ".join(asked.places) + column


def _identity(bundle: Bundle) -> str:
    return sha256_file(bundle.path / MANIFEST)


def _sum(plan: Plan, finished: Iterable[Facts]) -> Summary:
    """What all parts come to.

    Raises:
        DataError: a part is not there.
    """
    whole, parts = Summary(), 0
    for facts in finished:
        whole.merge(facts.summary)
        parts += 1
    if (parts, whole.pictures) != (plan.head.parts, plan.head.pictures):
        raise DataError(
            f"{plan.head.parts - parts:,} of {plan.head.parts:,} parts have no answers, or had "
            "some and were deleted. The same command goes on with them."
        )
    return whole


def _apart(output: str, places: tuple[str, ...]) -> str:
    """The output, which lies in no place. No place lies in another: its pictures would be two's.

    Raises:
        ConfigError: else.
    """
    for place in places:
        if _resolved(output).startswith(_resolved(place)):
            raise ConfigError(
                f"the output {output} lies in {place}, which is to be predicted. Name another."
            )
    # What lies in a place comes right after it.
    for (around, outer), (within, inner) in pairwise(sorted((_resolved(p), p) for p in places)):
        if within.startswith(around):
            raise ConfigError(
                f"{inner} lies in {outer}: its pictures would have two rows each. Name one of them."
            )
    return output


def _resolved(address: str) -> str:
    """An address, whatever links it is named by, as what lies below it begins."""
    return f"{(address if is_remote(address) else os.path.realpath(address)).rstrip('/')}/"
