"""Reasons beyond doubt to ask about an answered picture: it drifted, or a challenger disagrees."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.annotation.items import Reason
from pixloop.annotation.uncertainty import disagreement
from pixloop.errors import DataError
from pixloop.monitoring.observations import Observation
from pixloop.serving.capture.format import decode_capture, read_captures

Floats = NDArray[np.float32]

#: Challengers' answers that are held at once, the latest.
MOST_ANSWERS = 200_000
#: Challengers' captures lie in folders of this name and a version.
SHADOW = "shadow-"


def look_for_drift(
    since: datetime, column: int, words: str, reference: Floats
) -> Callable[[Observation], Reason | None]:
    """Asks about pictures since an alarm began, those that are most unlike the reference first.

    Args:
        since: when it began.
        column: of the signal that moved, in an observation's values.
        words: what the signal is called.
        reference: float32 (n,), the signal's values in the reference; NaNs are left out.
    """
    known = np.sort(reference[~np.isnan(reference)])

    def look(observation: Observation) -> Reason | None:
        value = float(observation.values[column])
        if observation.at < since or np.isnan(value) or not len(known):
            return None
        # The middle of where it would stand among the reference's, so that ties weigh nothing.
        below = np.searchsorted(known, value, "left") + np.searchsorted(known, value, "right")
        share = float(below) / (2 * len(known))
        side = "above" if share >= 0.5 else "below"
        beyond = share if share >= 0.5 else 1.0 - share
        detail = f"{words} {value:.3g}, {side} {beyond:.0%} of the reference".replace("%", " %")
        return Reason("drifted", detail, abs(2 * share - 1))

    return look


class ChallengerAnswers:
    """What challengers answered unseen, by the request that they answered.

    Args:
        captures: the folder of all captures.
    """

    def __init__(self, captures: Path) -> None:
        self._captures = captures
        self._answers: OrderedDict[str, tuple[str, Sequence[Any]]] = OrderedDict()
        for folder in sorted(captures.glob(f"{SHADOW}*")):
            self._read(folder)

    def __len__(self) -> int:
        return len(self._answers)

    def __call__(self, observation: Observation) -> Reason | None:
        """Why to ask about an observation; None where nobody contradicts it."""
        request = self._request_of(observation) if self._answers else None
        found = self._answers.get(request) if request is not None else None
        index = int(observation.id.rpartition(":")[2])
        if found is None or index >= len(found[1]) or found[0] == observation.model:
            return None
        try:
            apart = disagreement(observation.answer, found[1][index])
        except (KeyError, TypeError, ValueError):
            return None  # another task's answer, or none that pixloop wrote
        if apart is None:
            return None
        return Reason("disagreement", f"{apart[1]} ({found[0]})", min(1.0, apart[0]))

    def _read(self, folder: Path) -> None:
        files = sorted(folder.rglob("*.jsonl"))
        for file in files:
            try:
                for exchange in read_captures(file):
                    documents = exchange.documents()
                    answers = [each for d in documents for each in d["predictions"]]
                    self._answers[exchange.request_id] = documents[0]["model"], answers
                    if len(self._answers) > MOST_ANSWERS:
                        self._answers.popitem(last=False)
            except (DataError, KeyError, TypeError, IndexError):
                continue  # a damaged file, or one that was removed: the others still tell

    def _request_of(self, observation: Observation) -> str | None:
        try:
            with (self._captures / observation.file).open("rb") as lines:
                lines.seek(observation.offset)
                return decode_capture(lines.readline()).request_id
        except (OSError, ValueError):
            return None
