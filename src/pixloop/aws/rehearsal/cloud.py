"""The stand-in cloud: moto's server, with real processes where moto only notes things down.

While one is entered, boto3 in this process and its children reaches nothing else: the environment
has its addresses and made-up credentials, and no profile, file or metadata service is asked.
"""

import logging
import os
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
import httpx
from botocore.config import Config
from moto.server import ThreadedMotoServer

from pixloop.aws.rehearsal import alarms, repairs, sagemaker
from pixloop.aws.rehearsal.endpoints import Endpoints
from pixloop.aws.rehearsal.events import Events
from pixloop.aws.rehearsal.front import Front
from pixloop.aws.rehearsal.lambdas import Lambdas
from pixloop.aws.rehearsal.patches import Patches
from pixloop.aws.rehearsal.pipelines import Pipelines
from pixloop.aws.rehearsal.queues import Queues
from pixloop.aws.rehearsal.stack import Stacks

_HERE = "127.0.0.1"


class Cloud:
    """A context manager; one at a time can be entered in a process.

    Attributes:
        environment: the AWS variables for child processes; entering sets them here.
        events: EventBridge's deliveries, with those that failed.
        endpoints: the endpoints and their servers.
        pipelines: the pipelines and their executions.
        front: the address that InvokeEndpoint goes to; it can be told to fail.
        lambdas: the functions' processes, with how long they took to start.
        queues: the pollers of event source mappings.
        stacks: what CloudFormation made with our help.
    """

    events: Events
    endpoints: Endpoints
    pipelines: Pipelines
    front: Front
    lambdas: Lambdas
    queues: Queues
    stacks: Stacks

    def __init__(self, folder: Path, *, region: str = "eu-west-1") -> None:
        """``folder`` is for logs, models and the pipelines' steps; it stays afterwards."""
        self.folder, self.region = folder.resolve(), region
        self.environment: dict[str, str] = {}
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._exit = ExitStack()

    def client(self, service: str) -> Any:
        """A boto3 client of this cloud, made once; it waits long, and tries once."""
        with self._lock:
            if service not in self._clients:
                settings = Config(
                    retries={"total_max_attempts": 1}, read_timeout=900, max_pool_connections=32
                )
                self._clients[service] = self._session.client(service, config=settings)
            return self._clients[service]

    def __enter__(self) -> "Cloud":
        with ExitStack() as stack:
            self._open(stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def _open(self, stack: ExitStack) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("werkzeug", "moto"):
            _quiet(name, stack)
        patches = Patches()
        stack.callback(patches.undo)
        server = ThreadedMotoServer(_HERE, 0, verbose=False)
        server.start()
        stack.callback(server.stop)
        address = "http://{}:{}".format(*server.get_host_and_port())
        # What other tests of this process left behind is no part of this cloud.
        _post(f"{address}/moto-api/reset")
        stack.callback(_post, f"{address}/moto-api/reset")

        self.events = Events(self.region, self.client)
        self.endpoints = Endpoints(self.folder / "endpoints", self.region, self.client, self.events)
        self.pipelines = Pipelines(self.folder / "pipelines", self.region, self.events)
        self.front = Front(self.endpoints)
        stack.callback(self.front.close)
        self.environment = _environment(address, self.front.url, self.region)
        _set_environment(self.environment, stack)
        boto3.DEFAULT_SESSION = None
        stack.callback(setattr, boto3, "DEFAULT_SESSION", None)
        self._session = boto3.session.Session(region_name=self.region)
        stack.callback(self._clients.clear)

        self._simulate_state_machines(address, stack)
        self.stacks = Stacks(self.client)
        self.lambdas = Lambdas(self.environment, self.folder / "lambda")
        self.queues = Queues(self.client)
        # Known before they are at work; the last is stopped first: triggers before what they start.
        stack.callback(self.endpoints.close)
        stack.callback(self.pipelines.close)
        stack.callback(self.lambdas.close)
        stack.callback(self.events.close)
        stack.callback(self.queues.close)
        repairs.install(patches)
        self.events.install(patches)
        alarms.install(patches, self.events, self.events.notify)
        sagemaker.install(patches, self.endpoints, self.pipelines, self.events)
        self.stacks.install(patches)
        self.lambdas.install()
        self.queues.install()

    def _simulate_state_machines(self, address: str, stack: ExitStack) -> None:
        where = f"{address}/moto-api/config"
        _post(where, {"stepfunctions": {"execute_state_machine": True}})
        stack.callback(_post, where, {"stepfunctions": {"execute_state_machine": False}})


def _environment(address: str, runtime: str, region: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": runtime,
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MOTO_PORT": address.rpartition(":")[2],
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), _HERE, "localhost"])),
        "no_proxy": ",".join(filter(None, [os.environ.get("no_proxy"), _HERE, "localhost"])),
    }


def _set_environment(environment: dict[str, str], stack: ExitStack) -> None:
    before = dict(os.environ)

    def restore() -> None:
        os.environ.clear()
        os.environ.update(before)

    stack.callback(restore)
    # Another profile, or the address of one service, would lead past this cloud.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(environment)


def _quiet(name: str, stack: ExitStack) -> None:
    logger = logging.getLogger(name)
    stack.callback(logger.setLevel, logger.level)
    logger.setLevel(logging.CRITICAL)


def _post(address: str, content: Any = None) -> None:
    httpx.post(address, json=content, trust_env=False, timeout=30).raise_for_status()
