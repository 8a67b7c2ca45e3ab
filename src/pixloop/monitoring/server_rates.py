"""How a server does, by its own metrics: captures hold answers, and no failures or latency."""

from collections import defaultdict
from math import inf

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, ConfigDict

from pixloop.errors import MonitoringError

_REQUESTS, _SECONDS = "pixloop_requests_total", "pixloop_request_seconds_bucket"
_TIMEOUT_S = 10.0


class ServerRates(BaseModel):
    """Since the server's start, all its models together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    requests: int
    failed: float  #: the share that the server failed on (5xx but 503)
    refused: float  #: the share for which it had no room or time (503, 429)
    wrong: float  #: the share that asked wrongly (other 4xx)
    p50_ms: float | None  #: from a request's head to its answer; None before the first
    p99_ms: float | None


def read_server(url: str) -> ServerRates:
    """Ask a server for its metrics.

    Args:
        url: its address, as 'pixloop serve' prints it.

    Raises:
        MonitoringError: nothing answers there, or not as a pixloop server does.
    """
    address = f"{url.rstrip('/')}/metrics"
    try:
        answer = httpx.get(address, timeout=_TIMEOUT_S).raise_for_status().text
        return read_rates(answer, url)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as e:
        raise MonitoringError(
            f"{address} does not tell how the server does: {e}. Expected what 'pixloop serve' "
            "answers there."
        ) from e


def read_rates(text: str, url: str) -> ServerRates:
    """Rates from metrics in Prometheus's text format.

    Raises:
        ValueError: it is none, or the server counts no requests.
    """
    statuses: dict[str, float] = defaultdict(float)
    buckets: dict[float, float] = defaultdict(float)
    known = False
    for family in text_string_to_metric_families(text):
        known = known or family.name == _REQUESTS.removesuffix("_total")
        for sample in family.samples:
            if sample.name == _REQUESTS:
                statuses[sample.labels["status"]] += sample.value
            elif sample.name == _SECONDS:
                buckets[float(sample.labels["le"])] += sample.value
    if not known:
        raise ValueError("there is no pixloop_requests among the metrics")
    total = sum(statuses.values())

    def share(*, of: str, without: tuple[str, ...] = ()) -> float:
        found = sum(n for s, n in statuses.items() if s.startswith(of) and s not in without)
        return found / total if total else 0.0

    refusals = ("503", "429")
    return ServerRates(
        url=url,
        requests=int(total),
        failed=share(of="5", without=refusals),
        refused=sum(statuses[s] for s in refusals) / total if total else 0.0,
        wrong=share(of="4", without=refusals),
        p50_ms=_quantile(buckets, 0.5),
        p99_ms=_quantile(buckets, 0.99),
    )


def _quantile(buckets: dict[float, float], share: float) -> float | None:
    """In milliseconds, straight between the bounds of its bucket, as Prometheus reckons it."""
    edges = sorted(buckets)
    if not edges or not buckets[edges[-1]]:
        return None
    wanted, low, below = share * buckets[edges[-1]], 0.0, 0.0
    for edge in edges:
        if buckets[edge] >= wanted:
            if edge == inf:
                return 1000 * low
            part = (wanted - below) / (buckets[edge] - below) if buckets[edge] > below else 1.0
            return 1000 * (low + part * (edge - low))
        low, below = edge, buckets[edge]
    return None
