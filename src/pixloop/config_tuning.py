"""The section of pixloop.yaml about the search for better settings."""

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from pixloop.config_section import Section


class TuningConfig(Section):
    """What 'pixloop run --on sagemaker --tune' searches: Train's settings, each from a range."""

    trials: int = Field(default=20, ge=1, le=500)
    """How many trainings are tried."""
    parallel: int = Field(default=2, ge=1, le=100)
    """How many of them at once."""
    models: tuple[str, ...] = ()
    """Names to choose ``model.name`` from; without any it stays as it is."""
    optimizers: tuple[str, ...] = ()
    """Names to choose ``training.optimizer`` from."""
    learning_rate: tuple[float, float] | None = None
    """The least and the greatest ``training.learning_rate``, searched on a logarithmic scale."""

    @field_validator("learning_rate")
    @classmethod
    def _is_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] < value[1]:
            raise PydanticCustomError("range", "expected [least, greatest], both above 0")
        return value
