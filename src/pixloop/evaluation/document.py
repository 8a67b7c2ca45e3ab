"""evaluation.json as a form: its ``pixloop`` section holds everything that the report shows.

What a study adds lies under the study's own key; the form lets it pass as it is.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pixloop.evaluation.page import Answers, Evidence, count_pictures, data_findings, named_graphs
from pixloop.evaluation.verdict import describe_verdict

Json = dict[str, Any]


def describe_evidence(summary: Mapping[str, Any], evidence: Evidence[Answers]) -> Json:
    """What the report shows beside the test set's scores, as JSON values.

    Args:
        summary: the ``pixloop`` section so far.
        evidence: what the report shows beside it.
    """
    info, manifest = evidence.dataset.info, evidence.manifest
    return {
        "verdict": describe_verdict(summary, evidence.sections),
        "data": {
            "sha256": info.sha256,
            "pictures": count_pictures(evidence.dataset),
            "classes": {split: dict(counts) for split, counts in info.counts.items()},
            "findings": data_findings(evidence.data_report),
        },
        "certificate": {**evidence.certificate, "graphs": named_graphs(evidence.certificate)}
        if evidence.certificate
        else None,
        "training": dict(evidence.training) if evidence.training else None,
        "drift": evidence.odds.model_dump(mode="json") if evidence.odds else None,
        "lineage": {
            **manifest.lineage,
            "bundle_created": manifest.created,
            "exported_with": dict(manifest.versions),
        },
    }


class _Part(BaseModel):
    # Later versions may add to each part; readers must not break on it.
    model_config = ConfigDict(extra="allow", frozen=True)


class StudyVerdict(_Part):
    """What a study says in a sentence; its numbers lie under ``pixloop.<key>``."""

    key: str
    title: str
    verdict: str
    good: bool | None  #: None where it is neither


class VerdictRecord(_Part):
    """What to do with the model, and why."""

    ship: Literal["yes", "with care", "no"]
    sentences: tuple[str, str, str]  #: how good it is, what it decides alone, what worries
    studies: tuple[StudyVerdict, ...]


class GateRecord(_Part):
    """Whether the gate lets it pass."""

    metric: str
    value: float
    minimum: float
    min_kept_accuracy: float | None = None  #: where it is asked for
    passes: bool
    failures: tuple[str, ...]  #: each condition that fails, in words


class ThresholdRecord(_Part):
    """The bundle's threshold, and what it does on the test pictures."""

    max_error: float
    confidence: float
    calibration_pictures: int
    met: bool  #: whether the promise can be kept by accepting anything
    accepted: int
    wrong: int
    accepted_share: float
    error: float | None  #: None where nothing is accepted
    error_interval: tuple[float, float] | None


class ReliabilityRecord(_Part):
    """A bin of a reliability diagram."""

    low: float
    high: float
    pictures: int  #: in detection, boxes
    confidence: float
    accuracy: float


class CalibrationRecord(_Part):
    """Both lines of the reliability diagram."""

    before: tuple[ReliabilityRecord, ...]
    after: tuple[ReliabilityRecord, ...]


class RiskRecord(_Part):
    """A point of the line of accepted share against error."""

    accepted: float
    error: float
    interval: tuple[float, float]


class DataRecord(_Part):
    """The data set."""

    sha256: str
    pictures: dict[str, int]  #: of each split
    classes: dict[str, dict[str, int]]  #: of each split and class; in detection, boxes
    findings: tuple[Json, ...] | None  #: of the data report; None without one


class Document(_Part):
    """The ``pixloop`` section of evaluation.json, whatever the task."""

    name: str
    task: Literal["classification", "detection"] = "classification"
    created: str  #: ISO 8601, UTC
    pictures: int  #: test pictures
    graph: str  #: that was scored, which is the one that is served
    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float, float] | None]  #: 95 %
    classes: dict[str, Json]
    threshold: ThresholdRecord
    reliability: CalibrationRecord
    risk_curve: tuple[RiskRecord, ...]
    comparison: Json  #: with the champion, where there is one
    promotion: Json | None
    gate: GateRecord
    verdict: VerdictRecord
    data: DataRecord
    certificate: Json | None  #: how each graph compares with the trained model
    training: Json | None  #: training.json
    drift: Json | None  #: what the version's drift alarm notices
    lineage: Json
