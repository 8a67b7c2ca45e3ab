"""CloudFormation's missing parts: resources that moto's does not know, or makes by half.

They are made from the template's own properties, which moto resolves, at the moment at which moto
makes the others: what is rehearsed is wired as the template says. What is neither moto's nor here
is noted down and not made.
"""

from collections.abc import Callable, Mapping
from typing import Any

import moto.cloudformation.parsing as parsing
from moto.s3.models import FakeBucket

from pixloop.aws.rehearsal.patches import Patches
from pixloop.aws.rehearsal.stack_resources import KINDS, Client, Kind, complete_bucket

#: moto knows only "Retain", and a stack that is destroyed is past its creation.
_RETAIN = "RetainExceptOnCreate"


class Stacks:
    """What CloudFormation made with our help.

    Attributes:
        completed: type and name of each resource that moto alone would not have made, or only in
            part.
        left_out: type and logical name of each resource that nobody acts out.
    """

    def __init__(self, client: Client) -> None:
        self.completed: list[str] = []
        self.left_out: list[str] = []
        self._client = client
        self._classes = {kind.type: self._class(kind) for kind in KINDS}

    def install(self, patches: Patches) -> None:
        """Help moto's CloudFormation out."""
        known_class, known_name = (
            parsing.resource_class_from_type,
            parsing.resource_name_property_from_type,
        )
        names = {kind.type: kind.name_property for kind in KINDS}

        def resource_class_from_type(resource_type: str) -> Any:
            if resource_type in self._classes:
                return self._classes[resource_type]
            if resource_type not in parsing.get_model_map():
                return self._class(Kind(resource_type, None, _leave_out, _leave_alone, False))
            return known_class(resource_type)

        def resource_name_property_from_type(resource_type: str) -> Any:
            return names.get(resource_type) or known_name(resource_type)

        patches.replace(parsing, "resource_class_from_type", resource_class_from_type)
        patches.replace(
            parsing, "resource_name_property_from_type", resource_name_property_from_type
        )
        _drop_no_values(patches)
        _retain(patches)
        self._complete_buckets(patches)

    # ---- inside

    def _class(self, kind: Kind) -> type:
        """A class that moto's CloudFormation makes, updates and deletes such resources with."""
        stacks = self

        class Resource:
            def __init__(self, name: str, attributes: Mapping[str, Any]) -> None:
                self.physical_resource_id, self._attributes = name, attributes
                self.cf_resource_type = self.logical_resource_id = ""

            @classmethod
            def create_from_cloudformation_json(
                cls, name: str, json: Mapping[str, Any], account: str, region: str, **told: Any
            ) -> Any:
                identity, attributes = kind.make(
                    stacks._client, name, json.get("Properties", {}), account
                )
                noted = stacks.completed if kind.acted else stacks.left_out
                noted.append(f"{kind.type} {identity if kind.acted else told.get('LogicalId')}")
                return cls(identity, attributes)

            @classmethod
            def update_from_cloudformation_json(
                cls,
                original_resource: Any,
                new_resource_name: str,
                cloudformation_json: Mapping[str, Any],
                account_id: str,
                region_name: str,
            ) -> Any:
                properties = cloudformation_json.get("Properties", {})
                return cls(*kind.make(stacks._client, new_resource_name, properties, account_id))

            @classmethod
            def delete_from_cloudformation_json(
                cls, name: str, json: Mapping[str, Any], account: str, region: str
            ) -> None:
                kind.remove(stacks._client, name)

            @classmethod
            def has_cfn_attr(cls, attribute: str) -> bool:
                return True

            def get_cfn_attribute(self, attribute: str) -> Any:
                return self._attributes[attribute]

            def is_created(self) -> bool:
                return True

        return Resource

    def _complete_buckets(self, patches: Patches) -> None:
        stacks = self
        for name in ("create_from_cloudformation_json", "update_from_cloudformation_json"):
            original = getattr(FakeBucket, name).__func__
            patches.replace(FakeBucket, name, classmethod(_completing(stacks, original)))


def _completing(stacks: Stacks, original: Callable[..., Any]) -> Callable[..., Any]:
    def make(cls: Any, *arguments: Any, **named: Any) -> Any:
        bucket = original(cls, *arguments, **named)
        json = named.get("cloudformation_json") or arguments[1]
        made = complete_bucket(stacks._client, bucket.name, json.get("Properties", {}))
        if made:
            stacks.completed.append(f"AWS::S3::Bucket {bucket.name} ({', '.join(made)})")
        return bucket

    return make


def _drop_no_values(patches: Patches) -> None:
    """``AWS::NoValue`` in a list is no entry of it; moto leaves a None."""
    original = parsing.clean_json

    def clean_json(resource_json: Any, resources_map: Any) -> Any:
        cleaned = original(resource_json, resources_map)
        if isinstance(cleaned, list):
            return [value for value in cleaned if value is not None]
        return cleaned

    patches.replace(parsing, "clean_json", clean_json)


def _retain(patches: Patches) -> None:
    original = parsing.ResourceMap.delete

    def delete(self: Any) -> None:
        for resource in self._resource_json_map.values():
            if resource.get("DeletionPolicy") == _RETAIN:
                resource["DeletionPolicy"] = "Retain"
        original(self)

    patches.replace(parsing.ResourceMap, "delete", delete)


def _leave_out(
    client: Client, name: str, properties: Mapping[str, Any], account: str
) -> tuple[str, Mapping[str, Any]]:
    return name, {"Arn": name}


def _leave_alone(client: Client, name: str) -> None:
    pass
