"""The price table: ``prices.yaml``, a user's own file before it, and lines reckoned with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixloop.errors import ConfigError

FILE = Path(__file__).with_name("prices.yaml")
#: The region whose instance prices stand in for another's.
FALLBACK_REGION = "us-east-1"
HOURS_PER_MONTH = 730
DAYS_PER_MONTH = HOURS_PER_MONTH / 24
GB = 2**30

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Line:
    """So much of something at a price."""

    what: str
    quantity: float
    unit: str
    price: float | None  #: of one unit; None where the table has none

    @property
    def sum(self) -> float:
        """Quantity times price; 0 where there is no price."""
        return self.quantity * (self.price or 0)


@dataclass(frozen=True)
class Part:
    """Lines that belong together, and their sum."""

    title: str
    lines: tuple[Line, ...]

    @property
    def total(self) -> float:
        """The sum of the lines that have a price."""
        return sum(line.sum for line in self.lines)


class Services(BaseModel):
    """What SageMaker's instances are not; the names say the unit that is paid for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    serverless_gb_second: Price
    endpoint_gb: Price
    job_storage_gb_month: Price
    lambda_gb_second: Price
    lambda_request: Price
    workflow_transition: Price
    queue_request: Price
    s3_gb_month: Price
    s3_put: Price
    s3_get: Price
    cdn_gb: Price
    cdn_request: Price
    registry_gb_month: Price
    key_month: Price
    key_request: Price
    alarm_month: Price
    metric_month: Price
    dashboard_month: Price
    logs_gb: Price
    vpc_endpoint_hour: Price
    rekognition_training_hour: Price
    rekognition_inference_hour: Price


class Prices(BaseModel):
    """The content of prices.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: Text
    currency: Text
    #: Region → instance type → price of an hour.
    instances_per_hour: Mapping[str, Mapping[str, Price]]
    services: Services

    def instance_hour(self, instance: str, region: str) -> float | None:
        """The price of an hour of an instance; None where the table has none.

        Where it has none for the region, that of ``FALLBACK_REGION`` is taken; ``is_of_region``
        says so.
        """
        for place in (region, FALLBACK_REGION):
            price = self.instances_per_hour.get(place, {}).get(instance)
            if price is not None:
                return price
        return None

    def is_of_region(self, instance: str, region: str) -> bool:
        """Whether the price of an instance is the region's own."""
        return instance in self.instances_per_hour.get(region, {})


def read_prices(own: Path | None = None) -> Prices:
    """The price table.

    Args:
        own: a file with some of the same keys, which come before ours.

    Raises:
        ConfigError: the file is not there, is not YAML, or has a key that there is not, or a price
            that is none.
    """
    table = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    if own is not None:
        table = _merge(table, _read(own))
    if isinstance(table["date"], date):  # as YAML reads one
        table["date"] = table["date"].isoformat()
    try:
        return Prices.model_validate(table)
    except ValidationError as e:
        problems = "; ".join(
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}, not {error['input']!r}"
            for error in e.errors()
        )
        raise ConfigError(f"{own or FILE}: {problems}. The keys are those of {FILE}.") from e


def _read(own: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(own.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"{own}: cannot be read: {e.strerror}.") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"{own} is not YAML: {e}") from e
    if not isinstance(content, Mapping):
        raise ConfigError(f"{own}: expected keys as in {FILE}.")
    return content


def _merge(table: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(table)
    for key, value in own.items():
        before = merged.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(before, value) if both else value  # type: ignore[arg-type]
    return merged
