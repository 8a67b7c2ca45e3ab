"""Tuning a project: search, then judge the best settings on pictures that the search never saw.

::

    .pixloop/tuning/
      studies.db                     Optuna's trials, unless tuning.storage gives an address
      <study>/trials/<settings>/     a trial's log.txt and tensorboard/
      <study>/result.json            the best settings, and what the test pictures say of them
      <study>/tuning.html            for people: one file, opens offline
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState
from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.config import Config, flatten
from pixloop.data.dataset import Dataset
from pixloop.errors import PipelineError, TrainingError
from pixloop.files import write_text
from pixloop.pipeline.display import Listener
from pixloop.pipeline.search_space import Choice, Space, with_settings
from pixloop.tuning.importance import importances
from pixloop.tuning.listener import TuningListener
from pixloop.tuning.report import render_report
from pixloop.tuning.search import Search
from pixloop.tuning.space import Settings, tuning_space
from pixloop.tuning.study import ENDED_BY, FAILURE, Study, open_study
from pixloop.tuning.trial import OBJECTIVES, Train, train_apart
from pixloop.tuning.verdict import Define, Pipeline, judge

FOLDER, RESULT, REPORT = "tuning", "result.json", "tuning.html"

#: Opens what is told of a pipeline's steps, and of a search.
Shown = Callable[[], AbstractContextManager[Listener]]
Followed = Callable[[], AbstractContextManager[TuningListener]]


class TuningResult(BaseModel):
    """The content of result.json: what a search found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    objective: str  #: what was measured, on the validation pictures
    trials: int
    completed: int
    pruned: int
    failed: int
    current: Settings  #: the project's settings of what was searched
    current_score: float | None  #: their trial's; None where it has not ended
    best: Settings
    best_score: float
    found_better: bool  #: whether the best are others than the current ones
    importance: dict[str, float]  #: key → share of the scores' variance that it explains
    verdict: (
        dict[str, object] | None
    )  #: see ``verdict.Verdict``; None where nothing better was found
    report: str  #: the path of tuning.html
    of_present: bool = True  #: whether these are the settings that the project has now

    @property
    def changes(self) -> Settings:
        """The settings that the best have others of than the project."""
        return {k: v for k, v in self.best.items() if v != self.current.get(k)}

    @property
    def note(self) -> str:
        """What pixloop.yaml says of where its defaults come from."""
        before = "" if self.current_score is None else f", before {self.current_score:.4f}"
        return (
            f"study {self.study}, {self.trials} trials: validation {self.objective} "
            f"{self.best_score:.4f}{before}"
        )


@dataclass(frozen=True, slots=True)
class Tuning:
    """A project's search: its configuration, its ``.pixloop`` folder, its pipeline.

    Attributes:
        config: its ``tuning`` says what is searched and for how long.
        state: the project's ``.pixloop`` folder.
        define: the pipeline definition of a configuration.
        weights: a file that the current model starts from.
        train: what trains; another one in tests.
    """

    config: Config
    state: Path
    define: Define
    weights: Path | None = None
    train: Train = train_apart

    def run(self, shown: Shown, followed: Followed) -> TuningResult:
        """Search until the budget is spent, judge the best on the test pictures, and report.

        A search that was killed goes on; one that had ended is only judged.

        Raises:
            ConfigError: the space is wrong, or the storage cannot be reached.
            TrainingError: no trial came to its end.
            PipelineError, DataError: a step of the pipeline failed.
        """
        space = tuning_space(self.config)
        _check_names(self.config, space)
        with shown() as listener:
            dataset = Pipeline(self.define, self.state, listener).dataset(self.config)
        study = self._open(dataset, space)
        with followed() as watching:
            Search(
                self.config,
                study,
                dataset,
                self._folder(study) / "trials",
                self.weights,
                watching,
                self.train,
            ).run()
        result = self._summarise(study, None)
        if result.found_better:
            with shown() as listener:
                result = self._judged(study, result, dataset, listener)
        return self._write(study, result)

    def report(self, shown: Shown) -> TuningResult:
        """Write the report of what was tried so far anew; nothing is trained.

        Where the present settings were not searched, as after the best were written into
        pixloop.yaml, it is the report of the latest search.

        Raises:
            PipelineError: nothing was tried yet.
        """
        with shown() as listener:
            dataset = Pipeline(self.define, self.state, listener).dataset(self.config)
        study = self._open(dataset, tuning_space(self.config))
        if study.best() is not None:
            return self._write(study, self._summarise(study, self._judged_before(study)))
        latest = self._latest()
        if latest is None:
            raise PipelineError(
                f"The study {study.name} has no trial yet. 'pixloop tune' makes it."
            )
        return latest

    def _open(self, dataset: Path, space: Space) -> Study:
        sha256 = Dataset.open(dataset).info.sha256
        return open_study(self.config, sha256, space, self.state / FOLDER)

    def _folder(self, study: Study) -> Path:
        return self.state / FOLDER / study.name

    def _summarise(self, study: Study, before: TuningResult | None) -> TuningResult:
        trials, best = study.trials(), study.best()
        if best is None:
            raise TrainingError(_why_none(study))
        states = [trial.state for trial in trials]
        own = [t for t in trials if study.is_current(t) and t.state == TrialState.COMPLETE]
        found_better = not study.is_current(best)
        settings = study.settings(best) if found_better else study.current
        known = before is not None and before.best == settings
        return TuningResult(
            study=study.name,
            objective=OBJECTIVES[self.config.task],
            trials=len(trials),
            completed=states.count(TrialState.COMPLETE),
            pruned=states.count(TrialState.PRUNED),
            failed=states.count(TrialState.FAIL),
            current=study.current,
            current_score=own[0].value if own else None,
            best=settings,
            best_score=best.value or 0.0,
            found_better=found_better,
            importance=importances(study),
            verdict=before.verdict if before is not None and known else None,
            report=str(self._folder(study) / REPORT),
        )

    def _judged(
        self, study: Study, result: TuningResult, dataset: Path, listener: Listener
    ) -> TuningResult:
        """Train both in full and score them, unless that was done for these settings."""
        before = self._judged_before(study)
        if before is not None and before.best == result.best and before.verdict:
            return result.model_copy(update={"verdict": before.verdict})
        pipeline = Pipeline(self.define, self.state, listener)
        current = pipeline.bundle(self.config)
        best = pipeline.bundle(with_settings(self.config, result.best))
        verdict = judge(self.config, dataset, current, best)
        return result.model_copy(update={"verdict": verdict.as_json()})

    def _judged_before(self, study: Study) -> TuningResult | None:
        return _read(self._folder(study) / RESULT)

    def _latest(self) -> TuningResult | None:
        """What the latest search of other settings found, if there was one."""
        files = (self.state / FOLDER).glob(f"*/{RESULT}")
        for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
            result = _read(file)
            if result is not None:
                report = str(file.with_name(REPORT))  # the project may have been moved
                return result.model_copy(update={"of_present": False, "report": report})
        return None

    def _write(self, study: Study, result: TuningResult) -> TuningResult:
        folder = self._folder(study)
        write_text(folder / REPORT, render_report(study, result.model_dump(), self.config.name))
        write_text(folder / RESULT, result.model_dump_json(indent=2) + "\n")
        return result


def _read(file: Path) -> TuningResult | None:
    try:
        return TuningResult.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def _check_names(config: Config, space: Space) -> None:
    """See that there are the models, optimizers and augmentations that may be chosen."""
    from pixloop.training.names import check_names  # torch takes seconds to import

    check_names(config)
    for key, part in space.items():
        for value in part.values if isinstance(part, Choice) else ():
            if value != flatten(config)[key]:
                check_names(with_settings(config, {key: value}))


def _why_none(study: Study) -> str:
    reasons = [t.user_attrs[FAILURE] for t in study.trials() if FAILURE in t.user_attrs]
    if reasons:
        return f"No trial of {study.name} came to its end. The first failed: {reasons[0]}"
    early = sum(ENDED_BY in t.user_attrs for t in study.trials())
    return (
        f"No trial of {study.name} came to its end; {early} were stopped. Raise tuning.minutes, or "
        "lower tuning.trial_epochs."
    )
