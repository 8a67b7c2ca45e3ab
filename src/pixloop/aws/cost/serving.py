"""What a month of answering costs, by each way to deploy, and where they cross."""

from dataclasses import dataclass

from pixloop.aws.cost.prices import DAYS_PER_MONTH, GB, HOURS_PER_MONTH, Line, Part, Prices
from pixloop.config import Config

#: The functions of the queue and the workflow that wait for the model's answer.
_FUNCTION_GB = 0.5
#: A picture through the queue: sent, received, deleted. Through the workflow, where it is accepted:
#: the states it passes.
_QUEUE_REQUESTS, _TRANSITIONS, _WORKFLOW_FUNCTIONS = 3, 12, 3
#: The exported Try page: its files, and their size as CloudFront sends them, compressed.
_PAGE_FILES, _PAGE_BYTES = 7, 20_000
#: Captured pictures are base64.
_CAPTURED_SHARE = 4 / 3


@dataclass(frozen=True)
class Traffic:
    """What is asked of a deployed model."""

    requests_per_day: float = 1000
    picture_bytes: int = 200_000
    request_s: float = 0.2  #: how long the server works on one picture

    @property
    def requests_per_month(self) -> float:
        """A month has 730 hours."""
        return self.requests_per_day * DAYS_PER_MONTH


def endpoint_month(config: Config, prices: Prices, traffic: Traffic) -> Part:
    """Answering by the least number of instances of an endpoint."""
    aws, of = config.aws, prices.services
    count = aws.serving_instances[0]
    price = prices.instance_hour(aws.serving_instance, aws.region)
    sent_gb = traffic.requests_per_month * traffic.picture_bytes / GB
    captured_gb = sent_gb * _CAPTURED_SHARE * aws.capture_percent / 100
    return Part(
        "A month by endpoint",
        (
            Line(f"{count} × {aws.serving_instance}", count * HOURS_PER_MONTH, "hours", price),
            Line("pictures sent", sent_gb, "GB", of.endpoint_gb),
            Line("captured, kept a month", captured_gb, "GB-months", of.s3_gb_month),
        ),
    )


def serverless_month(config: Config, prices: Prices, traffic: Traffic) -> Part:
    """Answering by a serverless endpoint."""
    of = prices.services
    sent_gb = traffic.requests_per_month * traffic.picture_bytes / GB
    return Part(
        "A month by serverless endpoint",
        (
            Line("memory and time", _gb_seconds(config, traffic), "GB-s", of.serverless_gb_second),
            Line("pictures sent", sent_gb, "GB", of.endpoint_gb),
        ),
    )


def function_month(config: Config, prices: Prices, traffic: Traffic) -> Part:
    """Answering by a Lambda function."""
    of, requests = prices.services, traffic.requests_per_month
    return Part(
        "A month by Lambda",
        (
            Line("memory and time", _gb_seconds(config, traffic), "GB-s", of.lambda_gb_second),
            Line("requests", requests, "requests", of.lambda_request),
        ),
    )


def _gb_seconds(config: Config, traffic: Traffic) -> float:
    return traffic.requests_per_month * traffic.request_s * config.aws.memory_mb / 1024


def queue_month(prices: Prices, traffic: Traffic) -> Part:
    """Pictures that come by S3 and the queue: what that costs on top of answering."""
    of, requests = prices.services, traffic.requests_per_month
    return Part(
        "A month by the queue, on top",
        (
            Line("SQS requests", _QUEUE_REQUESTS * requests, "requests", of.queue_request),
            *_passing_on(prices, requests, requests * traffic.request_s),
            Line("uploads and answers in S3", 2 * requests, "PUTs", of.s3_put),
            Line("reads from S3", requests, "GETs", of.s3_get),
        ),
    )


def workflow_month(prices: Prices, traffic: Traffic) -> Part:
    """Pictures that come by the state machine: what that costs on top of answering."""
    of, requests = prices.services, traffic.requests_per_month
    calls = _WORKFLOW_FUNCTIONS * requests
    return Part(
        "A month by the workflow, on top",
        (
            Line("states passed", _TRANSITIONS * requests, "transitions", of.workflow_transition),
            *_passing_on(prices, calls, requests * traffic.request_s),
            Line("reads from S3", 2 * requests, "GETs", of.s3_get),
        ),
    )


def page_month(prices: Prices, traffic: Traffic) -> Part:
    """Pictures that come by the exported page: what that costs on top of answering.

    Each comes with a visit of its own, which loads the page anew.
    """
    of, visits = prices.services, traffic.requests_per_month
    return Part(
        "A month by the page, on top",
        (
            Line("page sent", visits * _PAGE_BYTES / GB, "GB", of.cdn_gb),
            Line("requests for its files", _PAGE_FILES * visits, "requests", of.cdn_request),
        ),
    )


def _passing_on(prices: Prices, calls: float, waiting_s: float) -> tuple[Line, Line]:
    """The functions that pass pictures on; what they do themselves is nothing beside waiting."""
    of = prices.services
    return (
        Line("functions that wait", waiting_s * _FUNCTION_GB, "GB-s", of.lambda_gb_second),
        Line("calls of functions", calls, "requests", of.lambda_request),
    )


def find_crossing(config: Config, prices: Prices, traffic: Traffic) -> float | None:
    """Requests a day from which the least endpoint costs less than Lambda.

    An endpoint costs by the hour and a little by the request; Lambda by the request alone. Where
    they meet: ``hours * price = requests * (Lambda's price - the endpoint's)``. The endpoint must
    also be able to answer that many, which is not looked at.
    """
    hour = prices.instance_hour(config.aws.serving_instance, config.aws.region)
    one = Traffic(1 / DAYS_PER_MONTH, traffic.picture_bytes, traffic.request_s)
    by_function = function_month(config, prices, one).total
    by_endpoint = sum(line.sum for line in endpoint_month(config, prices, one).lines[1:])
    if hour is None or by_function <= by_endpoint:
        return None
    month = config.aws.serving_instances[0] * HOURS_PER_MONTH * hour
    return month / (by_function - by_endpoint) / DAYS_PER_MONTH
