"""Why there was a run, in words."""

from pixloop.pipeline.runs import Cause
from pixloop.pipeline.triggers import BY_NAME

_WHO = {
    "person": "you, from the command line",
    "page": "you, from the page",
    "unknown": "not noted",
}


def tell_cause(cause: Cause) -> str:
    """Why there was a run.

    >>> tell_cause(Cause(by="watch", triggers=("raw_data", "drift")))
    'new raw data, drift alarm'
    >>> tell_cause(Cause(by="page", settings=("training.epochs=3",)))
    'you, from the page: training.epochs=3'
    """
    if cause.by == "watch":
        who = ", ".join(_trigger(name) for name in cause.triggers) or "pixloop watch"
    else:
        who = _WHO[cause.by]
    why = [text for text in (cause.detail, ", ".join(cause.settings)) if text]
    return f"{who}: {'; '.join(why)}" if why else who


def _trigger(name: str) -> str:
    return BY_NAME[name].what if name in BY_NAME else name
