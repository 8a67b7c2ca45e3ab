"""The server on this machine that answers for the champion: whether it does, and how it does."""

import re
import time
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from pixloop.errors import ConfigError, PipelineError, RegistryError
from pixloop.monitoring.server_rates import ServerRates, read_rates
from pixloop.web.jobs import Job
from pixloop.web.site import Site
from pixloop.web.versions import champion_of

#: It answers on this machine, or not at all.
_TIMEOUT_S = 1.5
_SERVING = re.compile(r"^serving .+ on (https?://\S+)$", re.M)
_NOT_TAKEN = re.compile(
    r'^pixloop_model_swaps_total\{model="([^"]*)",result="(refused|rolled back)"\} (\S+)$', re.M
)
#: Names that mean "every address of this machine", and where it is then asked; nothing is bound.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104

State = Literal["silent", "starting", "serving", "switching", "refused", "stranger"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is known of the server, at one moment.

    Attributes:
        state: ``silent``: nothing answers. ``starting``: nothing yet, but a page has started it.
            ``serving``: this project's model answers. ``switching``: it will take the champion over
            soon. ``refused``: it did not take the champion, whose answers were not those of its
            certificate. ``stranger``: something else answers there.
        url: where it is asked; None where only its start will tell the port.
        model: what it says that it serves.
        version: of this project's model.
        expected: the version that it should serve, or come to serve; None without a champion.
        follow_s: how often it looks for a new champion; 0: never.
        rates: what its metrics say.
        job: the command that a page has started and that is at work.
        stopping: that command was asked to stop; it answers what it has begun.
    """

    state: State
    url: str | None
    model: str | None
    version: str | None
    expected: str | None
    follow_s: float
    rates: ServerRates | None
    job: Job | None
    stopping: bool = False

    @property
    def answers(self) -> bool:
        """Whether this project's model answers."""
        return self.state in ("serving", "switching", "refused")

    @property
    def settled(self) -> bool:
        """Whether nothing is about to change by itself."""
        return self.state not in ("starting", "switching") and not self.stopping

    @property
    def where(self) -> str:
        """The address as people say it."""
        return self.url.partition("://")[2] if self.url else "a free port"

    @property
    def silence(self) -> str:
        """That nothing answers, as a sentence."""
        return f"No server answers on {self.where} now." if self.url else "No server runs now."


def read_endpoint(site: Site) -> Endpoint:
    """How the server does now; several pages that ask within a second share an answer.

    Raises:
        RegistryError: the registry cannot be reached.
    """
    found = champion_of(site.versions())
    champion = found.version if found else None
    job = next(iter(site.jobs.running("serve")), None)
    stopping = job is not None and site.jobs.is_stopping(job)
    seen = (int(time.monotonic()), champion, job.id if job else None, stopping)
    return site.cached.get("endpoint", seen, lambda: _read(site, champion, job, stopping))


def start_server(site: Site) -> Job:
    """Start ``pixloop serve`` as a process of its own, which goes on when the pages end.

    Raises:
        PipelineError: a server answers there already, or one has been started.
        RegistryError: there is no version to serve.
    """
    if all(each.status == "rejected" for each in site.versions()):
        raise RegistryError("There is no model version to serve. 'pixloop run' makes one.")
    found = read_endpoint(site)
    if found.state == "stranger":
        raise PipelineError(
            f"Something else answers on {found.where}: {found.model}. Stop it, or set serving.port."
        )
    if found.answers:
        raise PipelineError(f"A server answers on {found.where} already.")
    return site.jobs.start("serve", ["serve"], about=f"the server on {found.where}")


def stop_server(site: Site, job: str) -> None:
    """Stop a server that a page has started. One that has stopped already is left alone.

    Args:
        site: the project's pages.
        job: the identity of its job, as the page showed it.

    Raises:
        ConfigError: no page has started such a server.
    """
    for each in site.jobs.list("serve"):
        if each.id == job:
            site.jobs.stop(each)
            return
    raise ConfigError("The pages have started no such server.")


def local_address(host: str, port: int) -> str | None:
    """Where a server on this machine is asked; None where only its start will tell the port.

    >>> local_address("0.0.0.0", 9000), local_address("::1", 80), local_address("localhost", 0)
    ('http://127.0.0.1:9000', 'http://[::1]:80', None)
    """
    if port == 0:
        return None
    asked = _ANY.get(host.strip("[]"), host.strip("[]"))
    return f"http://[{asked}]:{port}" if ":" in asked else f"http://{asked}:{port}"


def _read(site: Site, champion: str | None, job: Job | None, stopping: bool) -> Endpoint:
    config = site.project.config
    url = _started_at(site, job) or local_address(config.serving.host, config.serving.port)
    model = _ping(url) if url else None
    name, _, version = (model or "").rpartition(":")
    ours = name == config.model_name
    metrics = _metrics(url) if url and ours else None
    state: State = "starting" if job and not stopping else "silent"
    if model is not None:
        state = "serving" if ours else "stranger"
    if state == "serving" and champion not in (None, version) and config.serving.follow_s:
        refused = f"{config.model_name}:{champion}" in _refused(metrics or "")
        state = "refused" if refused else "switching"
    return Endpoint(
        state,
        url,
        model,
        version if ours else None,
        champion,
        config.serving.follow_s,
        _rates(metrics, url),
        job,
        stopping,
    )


def _started_at(site: Site, job: Job | None) -> str | None:
    """The address that a started server has printed."""
    found = _SERVING.search(site.jobs.log(job)) if job else None
    if found is None:
        return None
    asked = httpx.URL(found[1])
    return str(asked.copy_with(host=_ANY.get(asked.host, asked.host))).rstrip("/")


def _ping(url: str) -> str | None:
    """The model that answers; what else answers is named as far as it can be."""
    try:
        # A proxy of the environment must not be asked about this machine.
        answer = httpx.get(f"{url}/ping", timeout=_TIMEOUT_S, trust_env=False)
        found: Any = answer.json()
        return str(found["model"])[:200]
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    except (ValueError, KeyError, TypeError):
        return "no pixloop server"


def _metrics(url: str) -> str | None:
    try:
        answer = httpx.get(f"{url}/metrics", timeout=_TIMEOUT_S, trust_env=False)
        return answer.raise_for_status().text
    except (httpx.HTTPError, httpx.InvalidURL):
        return None


def _rates(metrics: str | None, url: str | None) -> ServerRates | None:
    try:
        return read_rates(metrics, url or "") if metrics else None
    except ValueError:
        return None


def _refused(metrics: str) -> set[str]:
    """Versions that the server was offered and did not keep."""
    return {model for model, _, times in _NOT_TAKEN.findall(metrics) if float(times) > 0}
