"""SageMaker's model registry behind the verbs of ``pixloop models``, on moto."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from tests.small_bundles import manifest

from pixloop.aws.pipeline.model_packages import PackageRegistry, ensure_group
from pixloop.aws.session import Session
from pixloop.aws.storage import put_json
from pixloop.aws.uploads import upload_file
from pixloop.bundle import Graph, write_bundle
from pixloop.errors import AwsError, RegistryError
from pixloop.files import pack

GROUP = "vehicles"


def register(session: Session, number: int, evaluation: Any = None) -> None:
    """A version as the Register step makes it."""
    address = f"s3://pixloop-test/v/evaluation/e{number}/evaluation.json"
    if evaluation is not None:
        put_json(session, address, evaluation)
    session.client("sagemaker").create_model_package(
        ModelPackageGroupName=GROUP,
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [
                {"Image": "i", "ModelDataUrl": f"s3://pixloop-test/v/bundle/e{number}/model.tar.gz"}
            ],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
        ModelMetrics={
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": address}}
        },
        CustomerMetadataProperties={"commit": "abc", "execution": f"e{number}"},
    )


def measured(f1: float) -> Any:
    return {"pixloop": {"metrics": {"f1_macro": f1, "map_small": None}, "graph": "openvino"}}


@pytest.fixture
def registry(aws: Session, bucket: str) -> PackageRegistry:
    """Three versions."""
    ensure_group(aws, GROUP)
    for number, f1 in ((1, 0.8), (2, 0.9), (3, 0.7)):
        register(aws, number, measured(f1))
    return PackageRegistry(aws, GROUP)


def statuses(registry: PackageRegistry) -> dict[str, str]:
    return {v.version: v.status + "*" * v.champion for v in registry.list()}


def test_a_group_is_made_once(aws: Session) -> None:
    ensure_group(aws, GROUP)
    ensure_group(aws, GROUP)
    groups = aws.client("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"]
    assert [group["ModelPackageGroupName"] for group in groups] == [GROUP]


def test_versions_are_listed_newest_first_with_what_is_known(registry: PackageRegistry) -> None:
    versions = registry.list()
    assert [version.version for version in versions] == ["3", "2", "1"]
    second = versions[1]
    assert second.model == GROUP
    assert second.metrics == {"f1_macro": 0.9}
    assert second.chosen_graph == "openvino"
    assert second.status == "pending"
    assert second.bundle == "s3://pixloop-test/v/bundle/e2/model.tar.gz"
    assert second.report == "s3://pixloop-test/v/evaluation/e2"
    assert second.created.endswith("+00:00")


def test_an_evaluation_that_is_missing_or_broken_breaks_nothing(
    aws: Session, registry: PackageRegistry
) -> None:
    register(aws, 4)
    register(aws, 5, {"pixloop": {"metrics": None}})
    register(aws, 6, ["what?"])
    assert [version.metrics for version in registry.list()] == [
        *({}, {}, {}),
        *({"f1_macro": 0.7}, {"f1_macro": 0.9}, {"f1_macro": 0.8}),
    ]


def test_lineage_and_pages_as_the_service_gives_them(aws: Session) -> None:
    """moto drops a package's properties, and gives all versions in one page."""
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:model-package/vehicles"

    def summary(number: int) -> Any:
        return {
            "ModelPackageArn": f"{arn}/{number}",
            "CreationTime": datetime.now(UTC),
            "ModelPackageStatus": "Completed",
        }

    def description(number: int) -> Any:
        return {
            **summary(number),
            "ModelPackageName": GROUP,
            "ModelPackageVersion": number,
            "ModelApprovalStatus": "Rejected" if number == 1 else "Approved",
            "ApprovalDescription": "too dark",
            "ModelPackageStatusDetails": {"ValidationStatuses": []},
            "CustomerMetadataProperties": {"commit": "abc", "execution": "e1"},
        }

    asked = {"ModelPackageGroupName": GROUP, "SortBy": "CreationTime", "SortOrder": "Descending"}
    client = aws.client("sagemaker")
    # One after another: the stub answers in order.
    with Stubber(client) as stub:
        stub.add_response(
            "list_model_packages",
            {"ModelPackageSummaryList": [summary(2)], "NextToken": "more"},
            asked,
        )
        stub.add_response(
            "list_model_packages",
            {"ModelPackageSummaryList": [summary(1)]},
            {**asked, "NextToken": "more"},
        )
        registry = PackageRegistry(aws, GROUP)
        arns = registry._arns()
    assert arns == [f"{arn}/2", f"{arn}/1"]
    first = registry._read(description(1), champion=False)
    assert first.lineage == {"commit": "abc", "execution": "e1"}
    assert (first.run, first.status, first.reason) == ("e1", "rejected", "too dark")
    assert registry._read(description(2), champion=True).reason == ""


def test_no_group_has_no_versions(aws: Session) -> None:
    empty = PackageRegistry(aws, "nothing")
    assert empty.list() == []
    with pytest.raises(RegistryError, match="no versions on SageMaker yet"):
        empty.show("latest")


def test_a_version_is_shown_by_number_or_by_name(registry: PackageRegistry) -> None:
    assert registry.show("latest").version == "3"
    assert registry.show("2").version == "2"
    with pytest.raises(RegistryError, match=r"has no version '9'\. It has 3, 2, 1"):
        registry.show("9")
    with pytest.raises(RegistryError, match="has no champion"):
        registry.show("champion")


def test_the_version_that_was_approved_last_is_the_champion(registry: PackageRegistry) -> None:
    assert registry.approve("2").champion
    time.sleep(0.01)
    assert registry.approve("1").champion
    assert statuses(registry) == {"3": "pending", "2": "approved", "1": "approved*"}
    assert registry.show("champion").version == "1"
    time.sleep(0.01)
    assert registry.approve("2").champion


def test_a_version_is_rejected_with_a_reason_unless_it_is_the_champion(
    registry: PackageRegistry,
) -> None:
    registry.approve("2")
    rejected = registry.reject("3", "wrong on snow")
    assert (rejected.status, rejected.reason) == ("rejected", "wrong on snow")
    with pytest.raises(RegistryError, match="Version 2 is the champion"):
        registry.reject("2")


def test_rolling_back_approves_the_one_before_anew(
    aws: Session, registry: PackageRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1", "3"):
        registry.approve(version)
        time.sleep(0.01)
    client, sent = aws.client("sagemaker"), list[Any]()
    update = client.update_model_package

    def watch(**request: Any) -> Any:
        sent.append((request["ModelPackageArn"][-1], request["ModelApprovalStatus"]))
        return update(**request)

    monkeypatch.setattr(client, "update_model_package", watch)
    assert registry.rollback().version == "1"
    assert statuses(registry) == {"3": "rejected", "2": "pending", "1": "approved*"}
    assert sent == [("3", "Rejected"), ("1", "PendingManualApproval"), ("1", "Approved")]
    with pytest.raises(RegistryError, match="no champion before version 1"):
        registry.rollback()


def test_two_versions_are_compared(registry: PackageRegistry) -> None:
    difference = registry.compare("1", "2").metrics["f1_macro"]
    assert (difference.a, difference.b) == (0.8, 0.9)


def test_a_bundle_comes_back_verified(
    aws: Session, registry: PackageRegistry, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    graphs = (Graph(format="onnx", file="model.onnx"),)
    write_bundle(folder, manifest(classes=("bus", "car"), graphs=graphs))
    pack(folder, tmp_path / "model.tar.gz")
    upload_file(aws, tmp_path / "model.tar.gz", "s3://pixloop-test/v/bundle/e3/model.tar.gz")
    bundle = registry.bundle("latest", tmp_path / "back" / "bundle")
    assert bundle.manifest.classes == ("bus", "car")
    with pytest.raises(AwsError, match="does not exist"):
        registry.bundle("1", tmp_path / "back1" / "bundle")
