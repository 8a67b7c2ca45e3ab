"""The section of pixloop.yaml about the search for better settings."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pixloop.config_section import Section

#: Why some settings cannot be searched.
_NOT_SEARCHED = {
    "training.seed": "a search over seeds finds luck",
    "training.workers": "it does not change what is learned",
    "model.weights": "they are of one network",
}


class RangeConfig(Section):
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    """Search on a logarithmic scale."""
    step: float | None = Field(default=None, gt=0)
    """Only low, low + step, and so on."""

    @model_validator(mode="after")
    def _is_range(self) -> "RangeConfig":
        if not self.low < self.high:
            raise PydanticCustomError("range", "expected low below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise PydanticCustomError("range", "with log, expected low above 0 and no step")
        return self


Choices = Annotated[tuple[Any, ...], Field(min_length=1)]


class TuningConfig(Section):
    """What 'pixloop tune' searches, and 'pixloop run --on sagemaker --tune'."""

    trials: int = Field(default=20, ge=1, le=500)
    """How many trainings are tried, all runs of the search together."""
    minutes: float | None = Field(default=None, gt=0)
    """Begin no training after this time, and end those at work with their next epoch. Whatever is
    reached first, this or ``trials``, ends the search."""
    parallel: int = Field(default=2, ge=1, le=100)
    """How many trainings at once."""
    models: tuple[str, ...] = ()
    """Names to choose ``model.name`` from; without any it stays as it is."""
    optimizers: tuple[str, ...] = ()
    """Names to choose ``training.optimizer`` from."""
    learning_rate: tuple[float, float] | None = None
    """The least and the greatest ``training.learning_rate``, searched on a logarithmic scale."""
    space: dict[str, RangeConfig | Choices] = Field(default_factory=dict)
    """What else is searched: a key below ``model`` or ``training`` → a list of choices, or
    {low, high, log, step}."""
    trial_epochs: int | None = Field(default=None, ge=1)
    """``training.epochs`` of a trial. The winner is trained in full, whatever this is."""
    sampler: Literal["tpe", "random"] = "tpe"
    """How settings are chosen: by the tree-structured Parzen estimator, or at random."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """When a trial is given up: below the ``median`` of the others at its epoch, by ``hyperband``'s
    brackets, or never."""
    storage: str | None = None
    """A postgresql:// address that several machines search through at once. Without one: SQLite
    in .pixloop/tuning."""

    @field_validator("space")
    @classmethod
    def _can_be_searched(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if key in _NOT_SEARCHED:
                raise PydanticCustomError(
                    "space",
                    "{key} is no setting that can be searched: {why}",
                    {"key": repr(key), "why": _NOT_SEARCHED[key]},
                )
        return value

    @field_validator("learning_rate")
    @classmethod
    def _is_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] < value[1]:
            raise PydanticCustomError("range", "expected [least, greatest], both above 0")
        return value
