"""SageMaker endpoints: moto keeps what they are called, processes of this machine answer.

An update starts the new servers beside the old ones, lets requests go to them once all answer,
and stops the old ones; where one does not start, or an alarm of the update's rollback settings is
set, the old ones stay. A serverless or asynchronous configuration is answered like a real-time one.
"""

import itertools
import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeEndpoint, sagemaker_backends

from pixloop.aws.rehearsal.events import Events
from pixloop.aws.rehearsal.model_server import ModelServer
from pixloop.errors import PixloopError, ServingError

#: How events spell the states.
#: Source: Amazon SageMaker AI Developer Guide, "Events that Amazon SageMaker AI sends to Amazon
#: EventBridge".
_EVENT_STATES = {
    "Creating": "CREATING",
    "Updating": "UPDATING",
    "RollingBack": "ROLLING_BACK",
    "InService": "IN_SERVICE",
    "Deleting": "DELETING",
    "Failed": "FAILED",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """A production variant at work."""

    name: str
    weight: float
    server: ModelServer


class Endpoints:
    """Every endpoint of the region, with its servers."""

    def __init__(
        self, folder: Path, region: str, client: Callable[[str], Any], events: Events
    ) -> None:
        self._folder, self._region, self._client, self._events = folder, region, client, events
        self._fleets: dict[str, Sequence[Variant]] = {}
        self._count = itertools.count(1)
        self._lock = threading.Lock()
        self._closed = False
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="endpoints")

    # ---- what the API does

    def create(self, name: str, config: str, tags: Sequence[Mapping[str, str]] = ()) -> Any:
        """CreateEndpoint; gives moto's endpoint."""
        if name in self._backend.endpoints:
            arn = self._backend.endpoints[name].arn
            raise ValidationError(message=f'Cannot create already existing endpoint "{arn}".')
        endpoint = self._backend.create_endpoint(name, config, list(tags))
        self._set(endpoint, "Creating")
        self._pool.submit(self._deploy, endpoint, config, {})
        return endpoint

    def update(self, name: str, config: str, deployment: Mapping[str, Any]) -> Any:
        """UpdateEndpoint; gives moto's endpoint."""
        self._backend.describe_endpoint(name)
        self._backend.describe_endpoint_config(config)
        endpoint = self._backend.endpoints[name]
        if endpoint.endpoint_status != "InService":
            raise ValidationError(message=f'Cannot update in-progress endpoint "{endpoint.arn}".')
        self._set(endpoint, "Updating")
        self._pool.submit(self._deploy, endpoint, config, deployment)
        return endpoint

    def delete(self, name: str) -> None:
        """DeleteEndpoint."""
        self._backend.describe_endpoint(name)
        endpoint = self._backend.endpoints[name]
        self._set(endpoint, "Deleting")
        self._backend.delete_endpoint(name)
        with self._lock:
            fleet = self._fleets.pop(name, ())
        _stop(fleet)

    # ---- what the front and tests ask

    def variant(self, name: str, wanted: str | None = None) -> Variant | None:
        """The variant that answers the next request; None where there is no such endpoint."""
        with self._lock:
            fleet = [v for v in self._fleets.get(name, ()) if wanted in (None, v.name)]
        if not fleet:
            return None
        return random.choices(fleet, [v.weight for v in fleet])[0]  # noqa: S311 - no secret

    @property
    def running(self) -> Mapping[str, Sequence[Variant]]:
        """The endpoints that have servers."""
        with self._lock:
            return dict(self._fleets)

    def close(self) -> None:
        """Stop every server; nothing is deployed any more."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            fleets = list(self._fleets.values())
            self._fleets.clear()
        for fleet in fleets:
            _stop(fleet)

    # ---- inside

    @property
    def _backend(self) -> Any:
        return sagemaker_backends[DEFAULT_ACCOUNT_ID][self._region]

    def _deploy(self, endpoint: Any, config: str, deployment: Mapping[str, Any]) -> None:
        fleet: Sequence[Variant] = ()
        try:
            fleet = self._start(config)
            self._check_alarms(deployment)
        except Exception as e:
            _stop(fleet)
            if not isinstance(e, PixloopError | ClientError):
                log.exception("deploying %s", config)
            self._give_up(endpoint, str(e))
            return
        name = endpoint.endpoint_name
        with self._lock:
            gone = self._closed or self._backend.endpoints.get(name) is not endpoint
            old = () if gone else self._fleets.get(name, ())
            if not gone:
                self._fleets[name] = fleet
        if gone:
            _stop(fleet)
            return
        made = self._backend.endpoint_configs[config].response_object
        endpoint.endpoint_config_name = config
        endpoint.production_variants = FakeEndpoint._process_production_variants(
            endpoint, made["ProductionVariants"]
        )
        endpoint.data_capture_config = made.get("DataCaptureConfig")
        self._set(endpoint, "InService")
        _stop(old)

    def _give_up(self, endpoint: Any, reason: str) -> None:
        if self.variant(endpoint.endpoint_name) is None:
            self._set(endpoint, "Failed", reason)
            return
        self._set(endpoint, "RollingBack", reason)
        self._set(endpoint, "InService", reason)

    def _start(self, config: str) -> Sequence[Variant]:
        sagemaker = self._client("sagemaker")
        wanted = sagemaker.describe_endpoint_config(EndpointConfigName=config)
        fleet: list[Variant] = []
        try:
            for variant in wanted["ProductionVariants"]:
                url, environment = self._model(variant["ModelName"])
                folder = self._folder / f"{next(self._count):03d}-{variant['ModelName']}"
                server = ModelServer(self._fetch(url, folder), folder, environment)
                weight = float(variant.get("InitialVariantWeight", 1.0))
                fleet.append(Variant(variant["VariantName"], weight, server))
        except BaseException:
            _stop(fleet)
            raise
        return fleet

    def _model(self, name: str) -> tuple[str, Mapping[str, str]]:
        """A model's archive, and its container's variables."""
        sagemaker = self._client("sagemaker")
        model = sagemaker.describe_model(ModelName=name)
        container = model.get("PrimaryContainer") or model["Containers"][0]
        given = container
        if package := container.get("ModelPackageName"):
            described = sagemaker.describe_model_package(ModelPackageName=package)
            given = described["InferenceSpecification"]["Containers"][0]
        url = given.get("ModelDataUrl") or given["ModelDataSource"]["S3DataSource"]["S3Uri"]
        return url, {**given.get("Environment", {}), **container.get("Environment", {})}

    def _fetch(self, url: str, folder: Path) -> Path:
        parts = urlsplit(url)
        archive = folder / "model.tar.gz"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._client("s3").download_file(parts.netloc, parts.path.lstrip("/"), str(archive))
        except ClientError as e:
            raise ServingError(f"Could not find model data at {url}: {e}") from e
        return archive

    def _check_alarms(self, deployment: Mapping[str, Any]) -> None:
        wanted = deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])
        names = [alarm["AlarmName"] for alarm in wanted]
        if not names:
            return
        alarms = self._client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
        tripped = [alarm["AlarmName"] for alarm in alarms if alarm["StateValue"] == "ALARM"]
        if tripped:
            raise ServingError(f"One or more alarms tripped: {', '.join(tripped)}")

    def _set(self, endpoint: Any, status: str, reason: str | None = None) -> None:
        endpoint.endpoint_status, endpoint.failure_reason = status, reason
        endpoint.last_modified_time = datetime.now(UTC).replace(tzinfo=None)
        detail = {
            "EndpointName": endpoint.endpoint_name,
            "EndpointArn": endpoint.arn,
            "EndpointConfigName": endpoint.endpoint_config_name,
            "ProductionVariants": endpoint.production_variants,
            "EndpointStatus": _EVENT_STATES[status],
            "CreationTime": endpoint.creation_time.timestamp() * 1000,
            "LastModifiedTime": endpoint.last_modified_time.timestamp() * 1000,
            "Tags": {},
        }
        self._events.emit(
            "aws.sagemaker", "SageMaker Endpoint State Change", detail, [endpoint.arn]
        )


def _stop(fleet: Sequence[Variant]) -> None:
    for variant in fleet:
        with suppress(ProcessLookupError):
            variant.server.stop()
