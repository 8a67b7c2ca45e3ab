"""The sections of pixloop.yaml about what is looked into beside the test set's scores."""

from typing import Annotated

from pydantic import Field

from pixloop.config_section import Section


class RobustnessConfig(Section):
    """What is measured on test pictures that have been made worse."""

    pictures: int = Field(default=100, ge=0)
    """Test pictures that each corruption is tried on, at each of its severities, as many of each
    class; 0 leaves robustness out."""
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(
        default=(1, 2, 3, 4, 5), min_length=1
    )
    """Which of the corruptions' severities are tried, from 1 (slight) to 5 (hard to recognise)."""
    attack_pictures: int = Field(default=50, ge=0)
    """Of these pictures, how many are attacked by who knows the network, in detection a fifth of
    that; 0 leaves attacks out."""
    attack_strengths: tuple[Annotated[float, Field(gt=0, le=255)], ...] = Field(
        default=(1, 2, 4), min_length=1
    )
    """The most that an attack changes any pixel by, in levels of 0 to 255."""


class ExplanationsConfig(Section):
    """Which pixels spoke."""

    pictures: int = Field(default=3, ge=0, le=20)
    """Pictures of a class that are explained in the report: as many of the best, of the worst and
    of the least sure; 0 leaves explanations out."""


class SlicesConfig(Section):
    """On which kinds of pictures a model is weaker than elsewhere."""

    least_pictures: int = Field(default=20, ge=0)
    """Test pictures that a slice has at least; 0 leaves slices out."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """How sure it is that no slice at all is called weak that is not, and, where a champion is
    compared with, that none is called better or worse that is not."""


class TrustConfig(Section):
    """What is looked for in the data set itself."""

    pictures: int = Field(default=5_000, ge=0)
    """Pictures that are looked through for likely label errors, leaks between splits and
    duplicates; of more, some are drawn. 0 leaves that out."""


class CardConfig(Section):
    """What only people know of a model, for its card."""

    intended_use: str = ""
    """What the model is for, and by whom it is to be used."""
    not_for: str = ""
    """What it must not be used for."""
    data: str = ""
    """Where the pictures come from, who labelled them, and what allows their use."""
    contact: str = ""
    """Whom to ask about it."""
    license: str = ""
    """The model's licence."""
