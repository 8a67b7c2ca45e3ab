"""What a search found as one HTML file: no script, no outside resource. The verdict comes first."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from optuna.trial import FrozenTrial, TrialState

from pixloop import __version__
from pixloop.tuning.importance import ENOUGH_TRIALS
from pixloop.tuning.plots import history_plot, parallel_plot
from pixloop.tuning.study import ENDED_BY, FAILURE, SECONDS, Study

_STATES = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "at work",
}


def render_report(study: Study, result: Mapping[str, Any], name: str) -> str:
    """The report as HTML.

    Args:
        study: its trials are drawn and listed, the best first.
        result: ``TuningResult`` as a mapping.
        name: the project's.
    """
    trials = study.trials()
    rows = [_row(study, trial) for trial in trials]
    rows.sort(key=lambda row: (row["how"] != "done", -(row["score"] or 0.0), row["number"]))
    return (
        _environment()
        .get_template("tuning.html")
        .render(
            name=name,
            made=datetime.now(UTC),
            version=__version__,
            result=result,
            rows=rows,
            keys=list(study.space),
            seconds=sum(row["seconds"] or 0.0 for row in rows),
            history=history_plot(study, trials),
            parallel=parallel_plot(study, trials),
            enough=ENOUGH_TRIALS,
        )
    )


def _row(study: Study, trial: FrozenTrial) -> dict[str, Any]:
    scores = trial.intermediate_values
    return {
        "number": trial.number,
        "how": _STATES.get(trial.state, "waiting"),
        "why": trial.user_attrs.get(FAILURE) or trial.user_attrs.get(ENDED_BY, ""),
        "current": study.is_current(trial),
        "score": trial.value if trial.value is not None else max(scores.values(), default=None),
        "epochs": max(scores, default=0),
        "seconds": trial.user_attrs.get(SECONDS),
        "settings": study.settings(trial),
    }


def _environment() -> Environment:
    # The monitor's style sheet, so that all pages look alike.
    loaders = [PackageLoader("pixloop.tuning"), PackageLoader("pixloop.monitoring")]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=lambda share: f"{share:.1%}".replace("%", "\xa0%"),
        moment=lambda at: f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        score=lambda x: "–" if x is None else f"{x:.4f}",
        setting=lambda x: "+".join(map(str, x)) if isinstance(x, list) else str(x),
    )
    return environment
