"""What is known of a registered model version, read from MLflow's, and compared with another."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pixloop.errors import RegistryError

Status = Literal["pending", "approved", "rejected"]

#: What stands for a version's number: the one to serve, and the newest.
CHAMPION, LATEST = "champion", "latest"
#: In a version's folder of reports.
EVALUATION = "evaluation.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelVersion(_Part):
    """One registered model."""

    model: str
    version: str
    status: Status
    champion: bool  #: whether this is the one to serve
    created: str  #: ISO 8601, UTC
    metrics: dict[str, float]  #: of the test pictures: accuracy, f1_macro, ...
    chosen_graph: str
    lineage: dict[str, Any]
    bundle_sha256: str  #: of bundle.json, which holds the SHA-256 of every other file
    bundle: str  #: where the bundle is
    report: str  #: where evaluation.json and report.html are
    run: str  #: MLflow's run
    reason: str = ""  #: why it was rejected
    champion_since: str = (
        ""  #: ISO 8601, UTC; when it last became the champion, where that is known
    )


class Difference(_Part):
    """A metric of two versions."""

    a: float
    b: float
    difference: float  #: b - a


class Comparison(_Part):
    """Two versions, side by side."""

    a: str
    b: str
    metrics: dict[str, Difference]  #: those that both have


def read_version(found: Any, champion: bool) -> ModelVersion:
    """A version as MLflow holds it; ``champion``: whether it is the one to serve."""
    tags = found.tags
    root = str(found.source).removesuffix("/bundle")
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return ModelVersion(
        model=str(found.name),
        version=str(found.version),
        status=tags.get("status", "pending"),
        champion=champion,
        created=created.isoformat(timespec="seconds"),
        metrics=json.loads(tags.get("metrics", "{}")),
        chosen_graph=tags.get("chosen_graph", ""),
        lineage=json.loads(tags.get("lineage", "{}")),
        bundle_sha256=tags.get("bundle_sha256", ""),
        bundle=str(found.source),
        report=f"{root}/evaluation",
        run=str(found.run_id),
        reason=tags.get("reason", ""),
        champion_since=tags.get("champion_since", ""),
    )


def find_version(versions: Sequence[ModelVersion], name: str) -> ModelVersion:
    """The version that a number, ``"latest"`` or ``"champion"`` stands for.

    Args:
        versions: all of a model's, at least one, the newest first.
        name: which.

    Raises:
        RegistryError: there is no such version; the message lists those there are.
    """
    if name == LATEST:
        return versions[0]
    for each in versions:
        if each.version == name or (name == CHAMPION and each.champion):
            return each
    model = versions[0].model
    if name == CHAMPION:
        raise RegistryError(f"{model} has no champion. 'pixloop models approve' makes one.")
    numbers = ", ".join(each.version for each in versions)
    raise RegistryError(f"{model} has no version {name!r}. It has {numbers}.")


def refuse_champion(version: ModelVersion) -> None:
    """Let any version but the champion be rejected.

    Raises:
        RegistryError: it is the champion.
    """
    if version.champion:
        raise RegistryError(
            f"Version {version.version} is the champion. Roll back or approve another first."
        )


def refuse_promotion(
    version: ModelVersion, champion: ModelVersion | None, evaluation: Mapping[str, Any]
) -> None:
    """Let a version be promoted whose evaluation says so.

    Args:
        version: the challenger.
        champion: today's, if there is one.
        evaluation: the ``pixloop`` section of the challenger's evaluation.json.

    Raises:
        RegistryError: it does not say so, or of another champion.
    """
    number = version.version
    found = evaluation.get("promotion")
    if version.status == "rejected":
        raise RegistryError(
            f"Version {number} was rejected{': ' + version.reason if version.reason else ''}. "
            f"'pixloop models approve {number}' approves it all the same."
        )
    if not found:
        raise RegistryError(
            f"Version {number} was evaluated by an older pixloop, without a test against the "
            "champion. Run 'pixloop run' again, or approve it as it is."
        )
    if champion is not None and found["champion_sha256"] != champion.bundle_sha256:
        raise RegistryError(
            f"Version {number} was not compared with today's champion, version "
            f"{champion.version}. 'pixloop run' compares again."
        )
    if not found["promote"]:
        raise RegistryError(
            f"Version {number} is not promoted: {found['reason']}. "
            f"'pixloop models approve {number}' approves it all the same."
        )


def compare_versions(a: ModelVersion, b: ModelVersion) -> Comparison:
    """The metrics that two versions have in common, and how far ``b`` is from ``a``."""
    metrics = {
        name: Difference(a=value, b=b.metrics[name], difference=b.metrics[name] - value)
        for name, value in a.metrics.items()
        if name in b.metrics
    }
    return Comparison(a=a.version, b=b.version, metrics=metrics)


def read_evaluation(file: Path) -> dict[str, Any]:
    """The ``pixloop`` section of evaluation.json.

    Raises:
        RegistryError: it is no evaluation.
    """
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["pixloop"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise RegistryError(f"{file} is no evaluation that pixloop wrote: {e!r}") from e


def read_metrics(evaluation: Path) -> dict[str, float]:
    """The metrics in evaluation.json; those that could not be measured are left out.

    Raises:
        RegistryError: it is no evaluation.
    """
    try:
        metrics = json.loads(evaluation.read_text(encoding="utf-8"))["pixloop"]["metrics"]
        return {name: float(value) for name, value in metrics.items() if value is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise RegistryError(f"{evaluation} is no evaluation that pixloop wrote: {e!r}") from e
