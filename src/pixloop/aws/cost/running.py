"""What runs and costs by the hour in an account and region, right now.

All of SageMaker's endpoints and jobs and all Rekognition Custom Labels models are listed, whosever
they are: the jobs of a pipeline have names that do not say which project's they are, and what was
forgotten costs as much as what was meant. Of VPC endpoints, which are nobody else's business, those
of the project's network stack are. What is asked for by use (serverless endpoints, Lambda,
storage) is not here; ``cost.estimate`` reckons with it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pixloop.aws.absence import is_absent
from pixloop.aws.cost.prices import Prices
from pixloop.aws.names import Names
from pixloop.aws.session import Session, translated
from pixloop.config import Config

#: In these states an endpoint's instances are there.
_ENDPOINT_COSTS = ("InService", "Creating", "Updating", "SystemUpdating", "RollingBack")
#: What deployment.transform adds to its jobs' names.
_JOB_TIME = re.compile(r"-\d{8}-\d{6}$")
_MODEL_COSTS = ("RUNNING", "STARTING", "STOPPING")


@dataclass(frozen=True)
class Running:
    """One thing that runs.

    Attributes:
        what: such as ``endpoint pixloop-vehicles``.
        detail: such as ``2 × ml.c6i.xlarge``.
        per_hour: what an hour of it costs; None where the table has no price.
        ours: whether its name is the project's.
    """

    what: str
    detail: str
    per_hour: float | None
    ours: bool


@dataclass(frozen=True)
class RunningCosts:
    """What runs now, and what could not be asked for."""

    things: tuple[Running, ...]
    notes: tuple[str, ...]

    @property
    def per_hour(self) -> float:
        """The sum of what has a price."""
        return sum(thing.per_hour or 0 for thing in self.things)


def running_costs(session: Session, config: Config, prices: Prices) -> RunningCosts:
    """Ask SageMaker and Rekognition what runs in the session's region.

    Rekognition Custom Labels is not in every region, and not everybody may ask for VPC endpoints:
    where they cannot be asked for, a note says so.

    Raises:
        AwsError: SageMaker cannot be asked.
    """
    look = _Look(session, Names(config.name), prices)
    with translated("what runs on SageMaker"):
        things = [*look.endpoints(), *look.jobs()]
    notes = []
    parts = (("models that run at Rekognition", look.models), ("VPC endpoints", look.network))
    for what, part in parts:
        try:
            things += part()
        except (ClientError, BotoCoreError) as e:
            notes.append(f"AWS could not be asked for {what}: {e}")
    return RunningCosts(tuple(things), tuple(notes))


@dataclass(frozen=True)
class _Look:
    session: Session
    names: Names
    prices: Prices

    def endpoints(self) -> Iterator[Running]:
        sagemaker = self.session.client("sagemaker")
        for found in self._pages("sagemaker", "list_endpoints", "Endpoints"):
            name, status = found["EndpointName"], found["EndpointStatus"]
            if status not in _ENDPOINT_COSTS:
                continue
            endpoint = sagemaker.describe_endpoint(EndpointName=name)
            wanted = sagemaker.describe_endpoint_config(
                EndpointConfigName=endpoint["EndpointConfigName"]
            )
            counts = {
                variant["VariantName"]: variant.get("CurrentInstanceCount")
                for variant in endpoint.get("ProductionVariants", [])
            }
            for variant in wanted["ProductionVariants"]:
                if "InstanceType" not in variant:
                    continue  # serverless: costs when it is asked
                now = counts.get(variant["VariantName"])
                count = variant.get("InitialInstanceCount", 1) if now is None else now
                yield self._instances("endpoint", name, variant["InstanceType"], count)

    def jobs(self) -> Iterator[Running]:
        kinds: Iterable[tuple[str, str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]] = (
            ("training", "Training", lambda job: job["ResourceConfig"]),
            ("processing", "Processing", lambda job: job["ProcessingResources"]["ClusterConfig"]),
            ("transform", "Transform", lambda job: job["TransformResources"]),
        )
        sagemaker = self.session.client("sagemaker")
        for kind, word, resources in kinds:
            found = self._pages(
                "sagemaker",
                f"list_{kind}_jobs",
                f"{word}JobSummaries",
                StatusEquals="InProgress",
            )
            describe = getattr(sagemaker, f"describe_{kind}_job")
            for summary in found:
                name = summary[f"{word}JobName"]
                machines = resources(describe(**{f"{word}JobName": name}))
                for group in machines.get("InstanceGroups") or [machines]:
                    yield self._instances(
                        f"{kind} job", name, group["InstanceType"], group["InstanceCount"]
                    )

    def models(self) -> Iterator[Running]:
        price = self.prices.services.rekognition_inference_hour
        for project in self._pages("rekognition", "describe_projects", "ProjectDescriptions"):
            arn = project["ProjectArn"]
            for version in self._pages(
                "rekognition",
                "describe_project_versions",
                "ProjectVersionDescriptions",
                ProjectArn=arn,
            ):
                if version["Status"] not in _MODEL_COSTS:
                    continue
                units = version.get("MinInferenceUnits", 1)
                # arn:…:project/NAME/version/VERSION/…
                name, _, label = version["ProjectVersionArn"].split(":")[-1].split("/")[1:4]
                yield Running(
                    f"Rekognition model {name} {label}",
                    f"{units} × inference unit",
                    units * price,
                    name == self.names.rekognition,
                )

    def network(self) -> Iterator[Running]:
        """The interface endpoints of ``aws deploy --vpc-endpoints``: each costs in each zone."""
        stack = self.names.network_stack
        pages = self._pages(
            "cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=stack
        )
        try:
            made = {each.get("PhysicalResourceId") for each in pages}
        except ClientError as e:
            if is_absent(e):
                return
            raise
        found = self._pages(
            "ec2",
            "describe_vpc_endpoints",
            "VpcEndpoints",
            Filters=[{"Name": "vpc-endpoint-type", "Values": ["Interface"]}],
        )
        count = sum(len(each["SubnetIds"]) for each in found if each["VpcEndpointId"] in made)
        if count:
            price = count * self.prices.services.vpc_endpoint_hour
            detail = f"{count} × interface endpoint and zone"
            yield Running(f"network {stack}", detail, price, True)

    def _instances(self, kind: str, name: str, instance: str, count: int) -> Running:
        price = self.prices.instance_hour(instance, self.session.region)
        return Running(
            f"{kind} {name}",
            f"{count} × {instance}",
            None if price is None else count * price,
            self._is_ours(name),
        )

    def _is_ours(self, name: str) -> bool:
        # A transform job is called after what serves, which is cut to 40 characters.
        stem = _JOB_TIME.sub("", name)
        serving = (self.names.endpoint, self.names.server_function)
        return any(stem in (each, each[:40].rstrip("-")) for each in serving)

    def _pages(self, service: str, call: str, key: str, **options: Any) -> Iterator[Any]:
        for page in self.session.client(service).get_paginator(call).paginate(**options):
            yield from page[key]
