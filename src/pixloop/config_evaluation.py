"""The sections of pixloop.yaml about what is looked into beside the test set's scores."""

from pydantic import Field

from pixloop.config_section import Section


class RobustnessConfig(Section):
    """What is measured on test pictures that have been made worse."""

    pictures: int = Field(default=100, ge=0)
    """Test pictures that each corruption is tried on, at each of its severities; 0 leaves it
    out."""


class ExplanationsConfig(Section):
    """Which pixels spoke."""

    pictures: int = Field(default=3, ge=0, le=20)
    """Pictures of a class that are explained in the report: as many of the best, of the worst and
    of the least sure; 0 leaves explanations out."""


class TrustConfig(Section):
    """What is looked for in the data set itself."""

    pictures: int = Field(default=20_000, ge=0)
    """Pictures that are looked through for likely label errors, leaks between splits and
    duplicates; 0 leaves that out."""


class CardConfig(Section):
    """What only people know of a model, for its card."""

    intended_use: str = ""
    """What the model is for, and by whom it is to be used."""
    not_for: str = ""
    """What it must not be used for."""
    contact: str = ""
    """Whom to ask about it."""
    license: str = ""
    """The model's licence."""
