"""What a RegisterModel step does here: the bundle and its evaluation become a model version."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixloop.pipeline.places import local_path

if TYPE_CHECKING:
    from pixloop.registry import Registry


def register_model(registry: "Registry", arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a RegisterModel step whose arguments are resolved; gives its properties."""
    container = arguments["InferenceSpecification"]["Containers"][0]
    archive = local_path(container["ModelDataUrl"], "the model's archive")
    statistics = arguments["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    evaluation = local_path(statistics, "the evaluation")
    version = registry.register(archive.parent / "bundle", evaluation)
    return {"ModelPackageVersion": version.version}
