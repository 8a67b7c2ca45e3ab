"""A deployed version watched: captures from S3, metrics to CloudWatch."""

import contextlib
from pathlib import Path

from pixloop.aws.names import CAPTURE
from pixloop.aws.session import Session, translated
from pixloop.aws.storage import at_once, download_file, list_objects
from pixloop.bundle import Bundle
from pixloop.config import Config
from pixloop.monitoring.look import Look
from pixloop.monitoring.monitor import Monitor

#: As the alarms of stacks/serving.yaml read them.
NAMESPACE, DRIFT, QUALITY, PROJECT = "pixloop", "Drift", "Quality", "Project"


def look_on_sagemaker(
    session: Session, bucket: str, config: Config, state: Path, version: str, bundle: Bundle
) -> Look:
    """Fetch the endpoint's captures, look at them here, and tell CloudWatch.

    Args:
        session: where the endpoint is.
        bucket: the serving stack's, for pictures.
        config: pixloop.yaml.
        state: the project's ``.pixloop`` folder; captures and what is known of them have folders
            of their own in it, apart from those of a server here.
        version: as the endpoint's answers call it.
        bundle: the version's.

    Raises:
        AwsError: AWS refuses.
        MonitoringError: the bundle has no reference.
    """
    captures = state / "captures-on-sagemaker"
    fetch_captures(session, f"s3://{bucket}/{CAPTURE}", captures)
    known, annotations = state / "monitoring" / "sagemaker", state / "annotations"
    look = Monitor(known, config, version, bundle, captures, annotations).look()
    put_metrics(session, config.name, look)
    return look


def fetch_captures(session: Session, address: str, folder: Path) -> int:
    """Fetch the capture files that are not here yet; how many they were.

    Files here that S3 no longer holds are removed: they need not be kept longer than there.

    Args:
        session: where they are.
        address: ``s3://bucket/prefix``, everything below which is fetched.
        folder: where they come to lie, by their keys behind the prefix.

    Raises:
        AwsError: they cannot be listed or fetched.
    """
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    there = {
        found.key.removeprefix(prefix): found.bytes
        for found in list_objects(session, f"s3://{bucket}/{prefix}")
        if found.key.endswith(".jsonl")
    }
    here = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*.jsonl")}
    for gone in here.keys() - there.keys():
        with contextlib.suppress(FileNotFoundError):
            here[gone].unlink()
    new = sorted(
        name
        for name, size in there.items()
        if ".." not in name.split("/") and (name not in here or here[name].stat().st_size != size)
    )

    def fetch(name: str) -> Path:
        return download_file(session, f"s3://{bucket}/{prefix}{name}", folder / name)

    return sum(1 for _ in at_once(fetch, new))


def put_metrics(session: Session, project: str, look: Look) -> None:
    """Tell CloudWatch what a look found.

    ``Drift`` is 1 while a drift alarm is open, else 0. ``Quality`` is put only where people have
    checked something: without a value there is no alarm.

    Raises:
        AwsError: CloudWatch does not take them.
    """
    values = {DRIFT: float(any(alarm.kind == "drift" for alarm in look.open_alarms))}
    if look.quality is not None:
        values[QUALITY] = look.quality.value
    dimensions = [{"Name": PROJECT, "Value": project}]
    data = [
        {"MetricName": name, "Dimensions": dimensions, "Value": value}
        for name, value in values.items()
    ]
    with translated("CloudWatch's metrics"):
        session.client("cloudwatch").put_metric_data(Namespace=NAMESPACE, MetricData=data)
