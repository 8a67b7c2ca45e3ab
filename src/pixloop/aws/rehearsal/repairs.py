"""Where moto answers otherwise than AWS, in small: each mended in a few lines."""

import json
from typing import Any

from moto.core.responses import BaseResponse
from moto.core.utils import get_service_model, utcnow
from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.kms.models import KmsBackend
from moto.s3.models import S3Backend
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeEndpointConfig, SageMakerModelBackend

from pixloop.aws.rehearsal.patches import Patches


def install(patches: Patches) -> None:
    """Mend them all."""
    _count_as_tls(patches)
    _refuse_unknown_calls(patches)
    _find_keys_by_arn(patches)
    _list_on_after_deletions(patches)
    _know_todays_instances(patches)
    _note_changes_of_pipelines(patches)


def _note_changes_of_pipelines(patches: Patches) -> None:
    """A pipeline that is updated was modified then, and not when it was made."""
    original = SageMakerModelBackend.update_pipeline

    def update_pipeline(self: Any, pipeline_name: str, **named: Any) -> Any:
        answer = original(self, pipeline_name, **named)
        self.pipelines[pipeline_name].last_modified_time = utcnow()
        return answer

    patches.replace(SageMakerModelBackend, "update_pipeline", update_pipeline)


def _count_as_tls(patches: Patches) -> None:
    """Requests that never leave this machine are as safe as those over TLS.

    moto knows no ``aws:SecureTransport``: what denies all without TLS would deny all.
    """
    original = IAMPolicyStatement.is_action_permitted

    def is_action_permitted(self: Any, *arguments: Any, **named: Any) -> Any:
        if self._statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}:
            return PermissionResult.NEUTRAL
        return original(self, *arguments, **named)

    patches.replace(IAMPolicyStatement, "is_action_permitted", is_action_permitted)


def _refuse_unknown_calls(patches: Patches) -> None:
    """What moto does not have is refused in so many words, instead of a server's failure."""
    original = BaseResponse.call_action

    def call_action(self: Any) -> Any:
        try:
            return original(self)
        except NotImplementedError as e:
            if "json" not in self.headers.get("Content-Type", ""):
                raise
            said = {"__type": "NotInTheStandIn", "message": f"the stand-in cloud lacks it: {e}"}
            return 400, {"x-amzn-ErrorType": "NotInTheStandIn"}, json.dumps(said)

    patches.replace(BaseResponse, "call_action", call_action)


def _find_keys_by_arn(patches: Patches) -> None:
    original = KmsBackend.schedule_key_deletion

    def schedule_key_deletion(self: Any, key_id: str, pending_window_in_days: int) -> Any:
        return original(self, key_id.rpartition("/")[2], pending_window_in_days)

    patches.replace(KmsBackend, "schedule_key_deletion", schedule_key_deletion)


def _list_on_after_deletions(patches: Patches) -> None:
    """The next page of versions is found though the last one of the page before was deleted."""
    original = S3Backend.list_object_versions

    def list_object_versions(
        self: Any,
        bucket_name: str,
        delimiter: str | None = None,
        key_marker: str | None = None,
        max_keys: int | None = 1000,
        prefix: str = "",
        version_id_marker: str | None = None,
    ) -> Any:
        def listed(after: str | None, most: int | None, version: str | None) -> Any:
            return original(self, bucket_name, delimiter, after, most, prefix, version)

        known = self.get_bucket(bucket_name).keys.getlist(key_marker, [])
        if key_marker is None or version_id_marker in [each.version_id for each in known]:
            return listed(key_marker, max_keys, version_id_marker)
        versions, prefixes, marks, _, _ = listed(None, None, None)
        later = [each for each in (*versions, *marks) if each.name >= key_marker]
        page = sorted(later, key=lambda each: each.name)[:max_keys]
        last = page[-1] if len(page) < len(later) else None
        return (
            [each for each in page if each in versions],
            prefixes,
            [each for each in page if each in marks],
            last and last.name,
            last and last.version_id,
        )

    patches.replace(S3Backend, "list_object_versions", list_object_versions)


def _know_todays_instances(patches: Patches) -> None:
    """Endpoints may have the instance types that botocore knows; moto's own list is old."""
    known = get_service_model("sagemaker").shape_for("ProductionVariantInstanceType").enum

    def validate_instance_type(self: Any, instance_type: str) -> None:
        if instance_type not in known:
            raise ValidationError(message=f"{instance_type!r} is no instance type of endpoints.")

    patches.replace(FakeEndpointConfig, "validate_instance_type", validate_instance_type)
