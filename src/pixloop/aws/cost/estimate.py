"""What a run and a month of serving will cost, before anything is started.

Every number rests on the price table (``prices.yaml``) and on assumptions, which the estimate says
in words. Free tiers, taxes, discounts and data that leaves AWS are not counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pixloop.aws.cost.prices import FALLBACK_REGION, GB, HOURS_PER_MONTH, Line, Part, Prices
from pixloop.aws.cost.serving import (
    Traffic,
    endpoint_month,
    find_crossing,
    function_month,
    page_month,
    queue_month,
    serverless_month,
    workflow_month,
)
from pixloop.config import Config
from pixloop.pipeline.arguments import VOLUME_GB
from pixloop.pipeline.runs import RunRecord

#: Where there has been no run: seconds of a step for 1,000 pictures; of Train, for each epoch.
ASSUMED_S: Mapping[str, float] = {"Prepare": 15, "Train": 15, "Export": 60, "Evaluate": 30}
#: What each job is paid for before it begins: the image and the data come to the instance.
JOB_START_S = 120
#: The interface endpoints of the network stack.
_ENDPOINTS = 13
_REGISTRY_GB, _ALARMS, _METRICS = 4, 8, 4


@dataclass(frozen=True)
class Estimate:
    """What things will cost, and what was assumed.

    Attributes:
        run: one run of the pipeline.
        standing: a month of what is there whether anything is asked or not.
        serving: a month of answering, by each way to deploy: ``endpoint``, ``serverless``,
            ``lambda``.
        paths: a month of pictures that come by the queue, by the workflow, or by the exported Try
            page, on top of serving.
        rekognition: Rekognition Custom Labels in place of all that.
        crossing_per_day: requests a day from which an endpoint is cheaper than Lambda; None where
            it never is, or where a price is missing.
        assumptions: sentences.
    """

    date: str
    currency: str
    run: Part
    standing: Part
    serving: Mapping[str, Part]
    paths: Mapping[str, Part]
    rekognition: Part
    crossing_per_day: float | None
    assumptions: tuple[str, ...]


def estimate(
    config: Config,
    prices: Prices,
    *,
    pictures: int,
    durations: Mapping[str, float],
    traffic: Traffic | None = None,
) -> Estimate:
    """Say what a configuration will cost.

    Args:
        config: its section ``aws`` says on which machines.
        prices: the price table.
        pictures: how many the pipeline works on.
        durations: seconds of each step of a run of this project, from ``find_durations``; for
            steps that are missing, ``ASSUMED_S`` stands in.
        traffic: what is asked of the model.
    """
    traffic = traffic or Traffic()
    serving = {
        "endpoint": endpoint_month(config, prices, traffic),
        "serverless": serverless_month(config, prices, traffic),
        "lambda": function_month(config, prices, traffic),
    }
    return Estimate(
        prices.date,
        prices.currency,
        _run(config, prices, pictures, durations),
        _standing(prices, pictures, traffic),
        serving,
        {
            "queue": queue_month(prices, traffic),
            "workflow": workflow_month(prices, traffic),
            "page": page_month(prices, traffic),
        },
        _rekognition(prices),
        find_crossing(config, prices, traffic),
        tuple(_assumptions(config, prices, pictures, durations, traffic)),
    )


def find_durations(runs: Sequence[RunRecord]) -> dict[str, float]:
    """Seconds of each step, from the newest run in which it really ran; steps may be missing.

    Args:
        runs: the newest first, as ``pipeline.runs.list_runs`` gives them.
    """
    found: dict[str, float] = {}
    for run in runs:
        for name, step in run.steps.items():
            if name in ASSUMED_S and step.status == "done" and step.seconds is not None:
                found.setdefault(name, step.seconds)
    return found


def _run(config: Config, prices: Prices, pictures: int, durations: Mapping[str, float]) -> Part:
    aws = config.aws
    machines = {
        "Prepare": (aws.processing_instance, aws.processing_instances),
        "Train": (aws.training_instance, aws.instances),
        "Export": (aws.processing_instance, 1),
        "Evaluate": (aws.processing_instance, 1),
    }
    lines = []
    for step, (instance, count) in machines.items():
        seconds = _step_seconds(config, step, pictures, durations) + JOB_START_S
        price = prices.instance_hour(instance, aws.region)
        what = f"{step} on {f'{count} × ' if count > 1 else ''}{instance}"
        lines.append(Line(what, count * seconds / 3600, "hours", price))
    gb_months = VOLUME_GB * sum(line.quantity for line in lines) / HOURS_PER_MONTH
    storage = Line(
        "disks of the jobs", gb_months, "GB-months", prices.services.job_storage_gb_month
    )
    return Part("One run", (*lines, storage))


def _step_seconds(
    config: Config, step: str, pictures: int, durations: Mapping[str, float]
) -> float:
    if step in durations:
        return durations[step]
    epochs = max(1, config.training.epochs) if step == "Train" else 1
    return ASSUMED_S[step] * epochs * pictures / 1000


def _standing(prices: Prices, pictures: int, traffic: Traffic) -> Part:
    of = prices.services
    stored = 2 * pictures * traffic.picture_bytes / GB
    return Part(
        "A month of what is always there",
        (
            Line("pictures and data set in S3", stored, "GB-months", of.s3_gb_month),
            Line("image in ECR", _REGISTRY_GB, "GB-months", of.registry_gb_month),
            Line("KMS key", 1, "keys", of.key_month),
            Line("alarms", _ALARMS, "alarms", of.alarm_month),
            Line("metrics of our own", _METRICS, "metrics", of.metric_month),
            Line("dashboard", 1, "dashboards", of.dashboard_month),
        ),
    )


def _rekognition(prices: Prices) -> Part:
    of = prices.services
    return Part(
        "Rekognition Custom Labels instead",
        (
            Line("an hour of training", 1, "hours", of.rekognition_training_hour),
            Line(
                "a model that runs all month, one unit",
                HOURS_PER_MONTH,
                "hours",
                of.rekognition_inference_hour,
            ),
        ),
    )


def _assumptions(
    config: Config,
    prices: Prices,
    pictures: int,
    durations: Mapping[str, float],
    traffic: Traffic,
) -> Iterable[str]:
    aws = config.aws
    yield (
        f"Prices: list prices in {prices.currency} as read on {prices.date}; check them. No taxes, "
        "free tiers, discounts or traffic out of AWS."
    )
    for instance in dict.fromkeys(
        (aws.processing_instance, aws.training_instance, aws.serving_instance)
    ):
        if prices.instance_hour(instance, aws.region) is None:
            yield f"{instance}: the table has no price; the sums are without it."
        elif not prices.is_of_region(instance, aws.region):
            yield f"{instance}: the price is {FALLBACK_REGION}'s; {aws.region} may cost more."
    known = [step for step in ASSUMED_S if step in durations]
    if known:
        yield (
            f"{', '.join(known)}: as long as in this project's last run here; SageMaker's machines "
            "may be faster or slower, and several are not counted as faster than one."
        )
    if assumed := [step for step in ASSUMED_S if step not in durations]:
        spans = ", ".join(
            f"{step} {ASSUMED_S[step]:g} s{' an epoch' if step == 'Train' else ''}"
            for step in assumed
        )
        yield f"Never run here, so assumed for each 1,000 of {pictures:,} pictures: {spans}."
    yield f"Each job is paid {JOB_START_S} s before it begins, and has {VOLUME_GB} GB of disk."
    if aws.spot:
        yield "Spot: Train's price is the one on demand; spot is cheaper, by how much changes."
    if aws.subnets:
        zone = _ENDPOINTS * HOURS_PER_MONTH * prices.services.vpc_endpoint_hour
        yield (
            "VPC endpoints, which 'pixloop aws deploy --vpc-endpoints' makes, are not counted: "
            f"{_ENDPOINTS} cost {zone:,.0f} a month in each zone."
        )
    yield (
        f"Always there: every picture twice, {_REGISTRY_GB} GB of image, {_ALARMS} alarms, "
        f"{_METRICS} metrics."
    )
    yield (
        f"Serving: {traffic.requests_per_day:,.0f} requests a day of "
        f"{traffic.picture_bytes / 1000:,.0f} kB, {traffic.request_s:g} s each in "
        f"{aws.memory_mb} MB; cold starts and instances beyond the least number "
        f"({aws.serving_instances[0]}) are not counted."
    )
    if crossing := find_crossing(config, prices, traffic):
        yield (
            f"An endpoint costs less than Lambda from {crossing:,.0f} requests a day on, if its "
            f"{aws.serving_instances[0]} can answer {crossing / 86_400:,.1f} a second."
        )
