"""Any number of pictures in, a folder of answers out: in parts, each of which is done or not.

What is to be done is listed first (``parts.py``). Then whoever computes takes the parts that have
no file of answers yet: this process, or a cluster (``on_ray.py``). At the end every file is looked
at before ``_summary.json`` says that all is there. So whatever is killed when, the same command
goes on, and each picture has exactly one row.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pixloop.bundle import MANIFEST, Bundle
from pixloop.errors import ConfigError, DataError
from pixloop.files import sha256_file
from pixloop.picture_predictions.batch_output import PLAN, BatchOutput
from pixloop.picture_predictions.computing import predict_parts
from pixloop.picture_predictions.part_answers import Facts
from pixloop.picture_predictions.parts import Answering, Head, Input, Listing, Plan, write_plan
from pixloop.picture_predictions.places import Stores, address_of
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
        output: a folder, or an address on S3. What an interrupted run left there is gone on with.
        column: the Parquet files' column of pictures, where names and types do not say it.
        restart: delete what is there of earlier runs, and begin anew.
        engine: what computes; this process, if it is None.

    Raises:
        ConfigError: an address cannot be, or the output lies in what is predicted.
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

    Raises:
        DataError: it is of another, and is not to be begun anew.
    """
    earlier = target.open_plan()
    if earlier is not None:
        with ExitStack() as opened:
            opened.enter_context(earlier)
            if not restart:
                if difference := _difference(earlier.head, asked, bundle, model, stores):
                    raise DataError(
                        f"{target.address} was begun {difference}. Add --restart to begin anew, "
                        "or name another output."
                    )
                opened.pop_all()
                return earlier
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
        target.publish_plan(local)
    plan = target.open_plan()
    assert plan is not None  # noqa: S101 - it was written
    return plan


def _difference(head: Head, asked: Input, bundle: Bundle, model: str, stores: Stores) -> str | None:
    """How an output that was begun differs from what is asked for now, as words after "begun"."""
    if head.answering.bundle != _identity(bundle):
        return f"with another model: {head.answering.model} answered, and {model} would now"
    if head.input != asked:
        return f"for another input: {_named(head.input)}, and not {_named(asked)}"
    listing = Listing(asked, stores)
    with progress("listing pictures", after_s=2.0) as advance:
        for _ in listing:
            advance()
    if listing.sha256 == head.sha256:
        return None
    return (
        f"for other pictures: files have changed since, or come, or gone; there were "
        f"{head.files:,} and are {listing.files:,}"
    )


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
    for place in places:
        if f"{output}/".startswith(f"{place}/"):
            raise ConfigError(
                f"the output {output} lies in {place}, which is to be predicted. Name another."
            )
    return output
