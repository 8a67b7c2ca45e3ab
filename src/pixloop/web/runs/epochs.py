"""What each epoch of a run's training reached, while it trains and after it."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.pipeline.container import EPOCHS
from pixloop.pipeline.runs import RunRecord
from pixloop.web.cached import stamp
from pixloop.web.site import Site

_STEP = "Train"


class EpochLine(BaseModel):
    """One epoch; see ``training.checkpoints.Epoch``, which is not imported because torch is."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    epoch: int  #: 0 is the warm start, of the last layers alone
    train_loss: float | None = None
    validation: dict[str, float | None] = {}

    def value(self, name: str) -> float | None:
        """A validation score that is a number."""
        found = self.validation.get(name)
        return found if found is not None and math.isfinite(found) else None


def read_epochs(site: Site, run: RunRecord) -> Sequence[EpochLine]:
    """The epochs of a run's training so far, in order; none before its first has ended."""
    folder = run.folder / "steps" / _STEP / "ml"
    live, done = folder / "output" / EPOCHS, folder / "model" / "training.json"
    # A run links to its step's folder, which an equal run that is at work may be writing into.
    return site.cached.get(
        ("epochs", run.id), stamp(live, done), lambda: _read_lines(live) or _read_summary(done)
    )


def shown_score(epochs: Sequence[EpochLine]) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and what it is called."""
    detector = any("map_50" in epoch.validation for epoch in epochs)
    return ("map_50", "AP50") if detector else ("f1_macro", "macro F1")


def best_epoch(epochs: Sequence[EpochLine]) -> int | None:
    """The epoch with the highest score, the last where there is none to choose by."""
    name, _ = shown_score(epochs)
    scored = [
        (score, -(epoch.value("loss") or 0.0), epoch.epoch)
        for epoch in epochs
        if (score := epoch.value(name)) is not None
    ]
    if scored:
        return max(scored, key=lambda each: each[:2])[2]
    return epochs[-1].epoch if epochs else None


def _read_lines(file: Path) -> Sequence[EpochLine]:
    return _parsed([line for line in _text(file).splitlines() if line.strip()])


def _read_summary(file: Path) -> Sequence[EpochLine]:
    try:
        history = json.loads(_text(file))["history"]
    except (ValueError, KeyError, TypeError):
        return ()
    return _parsed(history if isinstance(history, list) else [])


def _parsed(found: Sequence[Any]) -> Sequence[EpochLine]:
    try:
        return tuple(
            EpochLine.model_validate_json(each)
            if isinstance(each, str)
            else EpochLine.model_validate(each)
            for each in found
        )
    except ValidationError:
        return ()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
