"""SageMaker's API where moto lacks a call or only takes a note: endpoints, pipelines, approval."""

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import ModelPackage, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

from pixloop.aws.rehearsal.endpoints import Endpoints
from pixloop.aws.rehearsal.events import Events
from pixloop.aws.rehearsal.patches import Patches
from pixloop.aws.rehearsal.pipelines import Pipelines

_Answer = Callable[[Any], Any]


def install(patches: Patches, endpoints: Endpoints, pipelines: Pipelines, events: Events) -> None:
    """Put our answers in the place of moto's."""
    for name, answer in {**_endpoint_calls(endpoints), **_pipeline_calls(pipelines)}.items():
        patches.replace(SageMakerResponse, name, answer)
    for name, answer in _REGISTRY_CALLS.items():
        patches.replace(SageMakerResponse, name, answer)
    _check_definitions(patches, pipelines)
    _announce_versions(patches, events)


def _endpoint_calls(endpoints: Endpoints) -> dict[str, _Answer]:
    def create_endpoint(self: Any) -> Any:
        endpoint = endpoints.create(
            self._get_param("EndpointName"),
            self._get_param("EndpointConfigName"),
            self._get_param("Tags") or [],
        )
        return ActionResult({"EndpointArn": endpoint.arn})

    def update_endpoint(self: Any) -> Any:
        endpoint = endpoints.update(
            self._get_param("EndpointName"),
            self._get_param("EndpointConfigName"),
            self._get_param("DeploymentConfig") or {},
        )
        return ActionResult({"EndpointArn": endpoint.arn})

    def delete_endpoint(self: Any) -> Any:
        endpoints.delete(self._get_param("EndpointName"))
        return EmptyResult()

    return {
        "create_endpoint": create_endpoint,
        "update_endpoint": update_endpoint,
        "delete_endpoint": delete_endpoint,
    }


def _pipeline_calls(pipelines: Pipelines) -> dict[str, _Answer]:
    def start_pipeline_execution(self: Any) -> Any:
        arn = pipelines.start(
            self._get_param("PipelineName"),
            self._get_param("ClientRequestToken"),
            pipeline_execution_display_name=self._get_param("PipelineExecutionDisplayName"),
            pipeline_parameters=self._get_param("PipelineParameters") or [],
            pipeline_execution_description=self._get_param("PipelineExecutionDescription"),
            parallelism_configuration=self._get_param("ParallelismConfiguration"),
        )
        return ActionResult({"PipelineExecutionArn": arn})

    def stop_pipeline_execution(self: Any) -> Any:
        arn = self._get_param("PipelineExecutionArn")
        pipelines.stop(arn)
        return ActionResult({"PipelineExecutionArn": arn})

    def describe_pipeline_execution(self: Any) -> Any:
        return ActionResult(pipelines.describe(self._get_param("PipelineExecutionArn")))

    def list_pipeline_executions(self: Any) -> Any:
        ascending = self._get_param("SortOrder") == "Ascending"
        listed = pipelines.summaries(self._get_param("PipelineName").rpartition("/")[2], ascending)
        most = int(self._get_param("MaxResults") or 100)
        return ActionResult({"PipelineExecutionSummaries": listed[:most]})

    def list_pipeline_execution_steps(self: Any) -> Any:
        steps = pipelines.steps(self._get_param("PipelineExecutionArn"))
        ascending = self._get_param("SortOrder") == "Ascending"
        return ActionResult({"PipelineExecutionSteps": steps if ascending else steps[::-1]})

    return {
        "start_pipeline_execution": start_pipeline_execution,
        "stop_pipeline_execution": stop_pipeline_execution,
        "describe_pipeline_execution": describe_pipeline_execution,
        "list_pipeline_executions": list_pipeline_executions,
        "list_pipeline_execution_steps": list_pipeline_execution_steps,
    }


def _delete_model_package(self: Any) -> Any:
    backend = self.sagemaker_backend
    arn = backend.describe_model_package(self._get_param("ModelPackageName")).arn
    del backend.model_packages[arn]
    return EmptyResult()


def _delete_model_package_group(self: Any) -> Any:
    backend, name = self.sagemaker_backend, self._get_param("ModelPackageGroupName")
    backend.describe_model_package_group(name)
    packages = backend.model_packages.values()
    if any(package.model_package_group_name == name for package in packages):
        raise ValidationError(message=f"Model Package Group {name} still has model packages.")
    del backend.model_package_groups[name]
    return EmptyResult()


_REGISTRY_CALLS: dict[str, _Answer] = {
    "delete_model_package": _delete_model_package,
    "delete_model_package_group": _delete_model_package_group,
}


def _check_definitions(patches: Patches, pipelines: Pipelines) -> None:
    create, update = SageMakerResponse.create_pipeline, SageMakerResponse.update_pipeline

    def create_pipeline(self: Any) -> Any:
        answer = create(self)
        name = self._get_param("PipelineName")
        try:
            pipelines.check(name)
        except ValidationError:
            self.sagemaker_backend.delete_pipeline(name)
            raise
        return answer

    def update_pipeline(self: Any) -> Any:
        name = self._get_param("PipelineName")
        pipeline = self.sagemaker_backend.pipelines.get(name)
        before = pipeline and pipeline.pipeline_definition
        answer = update(self)
        try:
            pipelines.check(name)
        except ValidationError:
            pipeline.pipeline_definition = before
            raise
        return answer

    patches.replace(SageMakerResponse, "create_pipeline", create_pipeline)
    patches.replace(SageMakerResponse, "update_pipeline", update_pipeline)


def _announce_versions(patches: Patches, events: Events) -> None:
    """Model packages emit events, and keep what an update does not name."""
    create = SageMakerModelBackend.create_model_package
    update = SageMakerModelBackend.update_model_package

    def create_model_package(self: Any, *arguments: Any, **named: Any) -> Any:
        arn = create(self, *arguments, **named)
        _announce(events, self.model_packages[arn])
        return arn

    def update_model_package(self: Any, **named: Any) -> Any:
        package = self.describe_model_package(named["model_package_arn"])
        before = package.model_approval_status
        # moto forgets all three where an update does not give them.
        for name in ("model_approval_status", "approval_description"):
            if named[name] is None:
                named[name] = getattr(package, name)
        kept = package.customer_metadata_properties or {}
        named["customer_metadata_properties"] = {
            **kept,
            **(named["customer_metadata_properties"] or {}),
        }
        arn = update(self, **named)
        if package.model_approval_status != before:
            _announce(events, package)
        return arn

    patches.replace(SageMakerModelBackend, "create_model_package", create_model_package)
    patches.replace(SageMakerModelBackend, "update_model_package", update_model_package)


def _announce(events: Events, package: ModelPackage) -> None:
    described = package.gen_response_object()
    names = (
        "ModelPackageGroupName",
        "ModelPackageVersion",
        "ModelPackageArn",
        "CreationTime",
        "InferenceSpecification",
        "ModelPackageStatus",
        "ModelPackageStatusDetails",
        "CertifyForMarketplace",
        "ModelApprovalStatus",
        "MetadataProperties",
        "ModelMetrics",
        "LastModifiedTime",
        "ApprovalDescription",
        "CustomerMetadataProperties",
    )
    detail = {name: described[name] for name in names if described.get(name) is not None}
    events.emit("aws.sagemaker", "SageMaker Model Package State Change", detail, [package.arn])
