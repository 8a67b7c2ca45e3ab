"""SageMaker's model registry behind the verbs of ``pixloop models``.

A version is a model package of the project's group. Approving one makes it the champion, and an
event tells it to the function that deploys it. SageMaker keeps one status a version and the time
of its last change, so the champion is the approved version that was changed last.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from pixloop.aws.absence import find, is_absent
from pixloop.aws.session import Session, translated
from pixloop.aws.storage import at_once, download_file, read_json
from pixloop.bundle import ARCHIVE, Bundle
from pixloop.errors import AwsError, RegistryError
from pixloop.model_versions import (
    CHAMPION,
    Comparison,
    ModelVersion,
    Status,
    compare_versions,
    find_version,
    refuse_champion,
)

Json = Mapping[str, Any]

_STATUSES: Mapping[str, Status] = {
    "Approved": "approved",
    "Rejected": "rejected",
    "PendingManualApproval": "pending",
}
#: UpdateModelPackage takes no longer text.
_REASON_CHARACTERS = 1024


def ensure_group(session: Session, group: str) -> None:
    """Make a model package group, unless there is one."""
    client = session.client("sagemaker")
    with translated(f"the model package group {group}"):
        if find(client.describe_model_package_group, ModelPackageGroupName=group):
            return
        try:
            client.create_model_package_group(
                ModelPackageGroupName=group, ModelPackageGroupDescription="Models of pixloop"
            )
        except ClientError as e:
            if "already exists" not in str(e):  # another made it meanwhile
                raise


class PackageRegistry:
    """The versions of one model."""

    def __init__(self, session: Session, group: str) -> None:
        """``group`` is the model package group; nothing is asked until it is needed."""
        self.model = group
        self._session = session

    def list(self) -> Sequence[ModelVersion]:
        """Every version, the newest first.

        One whose evaluation cannot be read is in the list, without metrics.
        """
        described = [*at_once(self._describe, self._arns())]
        approved = [each for each in described if each["ModelApprovalStatus"] == "Approved"]
        champion = max(approved, key=_changed)["ModelPackageArn"] if approved else None
        versions = at_once(
            lambda each: self._read(each, each["ModelPackageArn"] == champion), described
        )
        return sorted(versions, key=lambda version: int(version.version), reverse=True)

    def show(self, version: str) -> ModelVersion:
        """One version: a number, ``"latest"`` or ``"champion"``.

        Raises:
            RegistryError: there is no such version; the message lists those there are.
        """
        versions = self.list()
        if not versions:
            raise RegistryError(
                f"{self.model} has no versions on SageMaker yet. 'pixloop run --on sagemaker' "
                "makes one."
            )
        return find_version(versions, version)

    def approve(self, version: str) -> ModelVersion:
        """Approve a version: it becomes the champion and, where that is set up, is deployed.

        A version that is approved already is approved anew, so that it is deployed again.
        """
        chosen = self.show(version)
        if chosen.status == "approved":
            # The event that deploys comes with a change of the status only.
            self._update(chosen, "PendingManualApproval", "to be approved again")
        self._update(chosen, "Approved", "")
        return self.show(chosen.version)

    def reject(self, version: str, reason: str = "") -> ModelVersion:
        """Reject a version.

        Raises:
            RegistryError: it is the champion.
        """
        chosen = self.show(version)
        refuse_champion(chosen)
        self._update(chosen, "Rejected", reason)
        return self.show(chosen.version)

    def rollback(self) -> ModelVersion:
        """Reject the champion, and approve anew the version that was approved before it.

        Raises:
            RegistryError: there is no champion, or none before it.
        """
        current = self.show(CHAMPION)
        described = [self._describe(arn) for arn in self._arns()]
        earlier = [
            each
            for each in described
            if each["ModelApprovalStatus"] == "Approved"
            and str(each["ModelPackageVersion"]) != current.version
        ]
        if not earlier:
            raise RegistryError(f"There was no champion before version {current.version}.")
        before = str(max(earlier, key=_changed)["ModelPackageVersion"])
        self._update(current, "Rejected", f"rolled back to version {before}")
        return self.approve(before)

    def compare(self, a: str, b: str) -> Comparison:
        """The metrics of two versions, and how far ``b`` is from ``a``."""
        return compare_versions(self.show(a), self.show(b))

    def bundle(self, version: str, to: Path) -> Bundle:
        """A version's bundle, verified, unpacked into the folder ``to``."""
        chosen = self.show(version)
        archive = download_file(self._session, chosen.bundle, to.parent / ARCHIVE)
        opened = Bundle.open(archive, unpack_to=to)
        opened.verify()
        return opened

    def arn(self, version: str) -> str:
        """The ARN of the model package that a version is; ``version`` is a number that exists."""
        return next(arn for arn in self._arns() if arn.rpartition("/")[2] == version)

    # ---- inside

    def _arns(self) -> Sequence[str]:
        pages = self._session.client("sagemaker").get_paginator("list_model_packages")
        with translated(f"the versions of {self.model}"):
            try:
                return [
                    each["ModelPackageArn"]
                    for page in pages.paginate(
                        ModelPackageGroupName=self.model,
                        SortBy="CreationTime",
                        SortOrder="Descending",
                    )
                    for each in page["ModelPackageSummaryList"]
                ]
            except ClientError as e:
                if is_absent(e):
                    return []  # no group yet
                raise

    def _describe(self, arn: str) -> Json:
        with translated(arn):
            answer = self._session.client("sagemaker").describe_model_package(ModelPackageName=arn)
        return dict(answer)

    def _read(self, package: Json, champion: bool) -> ModelVersion:
        quality = package.get("ModelMetrics", {}).get("ModelQuality", {})
        address = quality.get("Statistics", {}).get("S3Uri", "")
        measured = self._evaluation(address)
        lineage = dict(package.get("CustomerMetadataProperties") or {})
        containers = package.get("InferenceSpecification", {}).get("Containers", [{}])
        status = _STATUSES.get(package["ModelApprovalStatus"], "pending")
        created = package["CreationTime"].astimezone(UTC).isoformat(timespec="seconds")
        return ModelVersion(
            model=self.model,
            version=str(package["ModelPackageVersion"]),
            status=status,
            champion=champion,
            created=created,
            metrics={k: float(v) for k, v in measured.get("metrics", {}).items() if v is not None},
            chosen_graph=str(measured.get("graph", "")),
            lineage=lineage,
            bundle_sha256="",
            bundle=containers[0].get("ModelDataUrl", ""),
            report=address.rpartition("/")[0],
            run=lineage.get("execution", ""),
            # SageMaker keeps the text when the status changes.
            reason=(package.get("ApprovalDescription") or "") if status == "rejected" else "",
        )

    def _evaluation(self, address: str) -> Json:
        """The ``pixloop`` section of an evaluation; nothing where it cannot be read."""
        try:
            measured = read_json(self._session, address)["pixloop"]
            return measured if isinstance(measured.get("metrics"), dict) else {}
        except (AwsError, KeyError, TypeError, AttributeError):
            return {}

    def _update(self, version: ModelVersion, status: str, reason: str) -> None:
        arn = self.arn(version.version)
        request = {"ModelPackageArn": arn, "ModelApprovalStatus": status}
        if reason:
            request["ApprovalDescription"] = reason[:_REASON_CHARACTERS]
        with translated(f"version {version.version} of {self.model}"):
            self._session.client("sagemaker").update_model_package(**request)


def _changed(package: Json) -> tuple[datetime, int]:
    changed = package.get("LastModifiedTime") or package["CreationTime"]
    return changed, package["ModelPackageVersion"]
