"""The sections of pixloop.yaml about AWS: where, on which machines, what is searched there."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pixloop.config_section import Section

#: EventBridge's: "1 day" but "7 days"; six fields.
_RATE = r"rate\((1 (minute|hour|day)|([2-9]|[1-9]\d+) (minute|hour|day)s)\)"
_CRON = r"cron\(\S+( \S+){5}\)"


class AwsConfig(Section):
    """The loop on AWS: where, on which machines, and with what rights."""

    region: str = "eu-west-1"
    """The AWS region."""
    role: str | None = None
    """The ARN of the role that jobs and endpoints run as. Without one: the learning stack's."""
    bucket: str | None = None
    """The bucket for raw pictures, data sets, models and reports, of this project alone: what lies
    below raw/ is its data. Without one: the learning stack's."""
    pictures_bucket: str | None = None
    """The bucket for pictures to be answered, answers and captured requests. Without one: the
    serving stack's."""
    image: str | None = None
    """The container image's address in ECR. Without one: the last that 'pixloop aws image'
    pushed."""
    training_instance: str = "ml.g5.xlarge"
    """The instance type that trains."""
    instances: int = Field(default=1, ge=1)
    """How many instances train, together."""
    spot: bool = False
    """Train on spot instances: cheaper, interrupted at times, resumed from checkpoints."""
    processing_instance: str = "ml.m5.xlarge"
    """The instance type that prepares, exports and evaluates."""
    processing_instances: int = Field(default=1, ge=1, le=100)
    """How many instances check pictures, each its share of them."""
    serving_instance: str = "ml.c6i.xlarge"
    """The instance type of an endpoint."""
    serving_instances: tuple[int, int] = (1, 4)
    """The least and the greatest number of instances of an endpoint; traffic decides."""
    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 3072
    """The memory of a serverless endpoint or a Lambda function."""
    public_function: bool = False
    """Whether 'pixloop web export --on aws' may let the page's visitors ask the Lambda function.
    Then its URL wants no signature any more: anybody may ask it, by the page or by a program, and
    you pay for what they ask. Pages of other sites are held back by their visitors' browsers."""
    capture_percent: int = Field(default=100, ge=0, le=100)
    """The share of an endpoint's requests and answers that is kept."""
    schedule: str | None = None
    """When the loop runs by itself, such as ``rate(7 days)`` or ``cron(0 3 ? * MON *)``."""
    subnets: tuple[str, ...] = ()
    """Private subnets for jobs, endpoints and functions; without any, they are not in a VPC."""
    security_groups: tuple[str, ...] = ()
    """The security groups that go with ``subnets``."""

    @field_validator("training_instance", "processing_instance", "serving_instance")
    @classmethod
    def _is_instance(cls, value: str) -> str:
        if not value.startswith("ml."):
            raise PydanticCustomError(
                "instance",
                "SageMaker's instance types begin with ml., as ml.{type}",
                {"type": value},
            )
        return value

    @field_validator("region")
    @classmethod
    def _is_region(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", value):
            raise PydanticCustomError("region", "expected a region such as eu-west-1")
        return value

    @field_validator("role")
    @classmethod
    def _is_role(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"arn:[a-z-]+:iam::\d{12}:role/.+", value):
            raise PydanticCustomError(
                "role", "expected a role's ARN, as arn:aws:iam::123456789012:role/name"
            )
        return value

    @field_validator("bucket", "pictures_bucket")
    @classmethod
    def _is_bucket(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value):
            raise PydanticCustomError(
                "bucket", "expected a bucket's name, without s3://: small letters, digits, . and -"
            )
        return value

    @field_validator("schedule")
    @classmethod
    def _is_schedule(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(f"{_RATE}|{_CRON}", value):
            raise PydanticCustomError(
                "schedule", "expected rate(7 days) or cron(0 3 ? * MON *), as EventBridge has it"
            )
        return value

    @model_validator(mode="after")
    def _is_whole_network(self) -> "AwsConfig":
        if bool(self.subnets) != bool(self.security_groups):
            raise PydanticCustomError(
                "network", "subnets and security_groups go together: give both, or neither"
            )
        return self

    @field_validator("serving_instances")
    @classmethod
    def _is_range(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1]:
            raise PydanticCustomError("range", "expected [least, greatest], both at least 1")
        return value
