"""The sections of pixloop.yaml about what comes after serving: watch, ask, retrain, promote."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from pixloop.config_section import Section

#: What may start the loop by itself; ``pipeline/triggers.py`` says what each of them is.
TRIGGERS = ("raw_data", "annotations", "commit", "schedule", "drift")

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class MonitoringConfig(Section):
    """What is watched while a version serves, and when it is an alarm."""

    sample: float = Field(default=1.0, gt=0, le=1)
    """The share of the captured predictions that is looked at; chosen by their ids, so that a
    second look chooses the same ones."""
    false_alarm: float = Field(default=0.01, gt=0, lt=1)
    """The chance that a version's stream ever raises a drift alarm, however long and often it is
    looked at, while pictures stay like those that it was measured on."""
    odds_pictures: int = Field(default=40, ge=0, le=1000)
    """Pictures that each corruption is tried on at export, at each of its five severities, to
    measure what the alarm notices and how soon; 0 leaves it out."""
    quality_drop: float = Field(default=0.05, gt=0, lt=1)
    """How far the accuracy (detection: the share of right boxes) of what people have checked may
    lie below the evaluation's before it is an alarm."""


class ReviewConfig(Section):
    """What people are asked next."""

    budget: int = Field(default=100, ge=1)
    """How many pictures are asked at a time; they differ from one another."""
    random_share: Share = 0.2
    """The share of the budget that is drawn at random from all that was asked of the server. Only
    these judge a model, in quality figures and held-out splits; all others teach it."""


class AnnotationConfig(Section):
    """Label Studio, in which people answer."""

    label_studio: str | None = None
    """The address of a Label Studio that runs already; its token is read from the environment
    variable LABEL_STUDIO_TOKEN. Without one, 'pixloop annotate up' starts its own."""
    pictures: str | None = None
    """Where pictures lie that people are asked about: an s3:// address that Label Studio reads with
    the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Without one: a folder that it serves
    where it runs here, uploads where it runs elsewhere."""
    port: int = Field(default=8081, ge=1, le=65535)
    """The port of Label Studio that 'pixloop annotate up' starts."""
    backend_port: int = Field(default=8082, ge=1, le=65535)
    """The port at which it is told what the model answers, and tells of annotations."""
    annotators: int = Field(default=1, ge=1, le=20)
    """How many people must answer for a picture before its answer counts."""
    agreement: float = Field(default=0.6, gt=0, le=1)
    """The share of them that must agree; where fewer do, the picture is asked again."""


class PromotionConfig(Section):
    """When a challenger takes the champion's place."""

    automatic: bool = False
    """Promote without a person where the evidence suffices, and roll back on a quality alarm."""
    margin: float = Field(default=0.01, ge=0, lt=1)
    """How much worse on the pictures that both are scored on would still pass as not worse."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """How sure one must be that it is not worse, and that it is better where it was meant to."""
    shadow: bool = False
    """Let the newest version that is neither champion nor rejected answer beside the champion,
    unseen: 'pixloop monitor' and the review queue use where the two disagree."""


class TriggersConfig(Section):
    """What makes 'pixloop watch' run the loop."""

    enabled: tuple[str, ...] = ("raw_data", "annotations", "drift")
    """Any of raw_data, annotations, commit, schedule, drift."""
    every_s: float | None = Field(default=None, gt=0)
    """With ``schedule``: seconds between two runs."""
    look_s: float = Field(default=10.0, gt=0)
    """How often it is looked whether something has changed."""
    settle_s: float = Field(default=30.0, ge=0)
    """How long pictures and annotations must have been still before a run takes them."""
    annotations: int = Field(default=20, ge=1)
    """How many new annotations are worth a run."""

    @field_validator("enabled")
    @classmethod
    def _are_triggers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in TRIGGERS]
        if unknown:
            raise PydanticCustomError(
                "trigger",
                "there is no trigger {name}; there are {known}",
                {"name": repr(unknown[0]), "known": ", ".join(TRIGGERS)},
            )
        return value
