"""The rooms of the loop as people read them: a name, a state, a number, what happened last."""

from dataclasses import dataclass

from pixloop.watching.status import duration
from pixloop.web.home.loop import Loop
from pixloop.web.home.server import Served
from pixloop.web.models.facts import metric_name
from pixloop.web.rendering import count, percent

#: Digits of a data set's version that are shown.
_SHORT = 8
#: As the page of monitoring says it.
_ANEW = "pictures since the test began anew"
#: Names, and the pages that show them.
_ROOMS = {
    "data": ("Data set", "/data"),
    "run": ("Run", "/runs"),
    "versions": ("Versions", "/models"),
    "endpoint": ("Endpoint", "/try"),
    "monitoring": ("Monitoring", "/monitoring"),
    "review": ("Review", "/review"),
    "annotations": ("Annotations", "/review"),
    "watch": ("Watch", "#watch"),
}


@dataclass(frozen=True, slots=True)
class Room:
    """A room.

    Attributes:
        key: of the room, for ids.
        name: of the room.
        to: the page that shows it.
        kind: of the pill.
        state: in the pill.
        figure: the number that counts most.
        unit: what stands beside it.
        lines: more, a line each.
        event: what happened last.
        at: when; ISO 8601, UTC.
        share: of the work that is done, 0 to 1.
        later: it is not known yet, and is being asked for.
    """

    key: str
    name: str
    to: str
    kind: str
    state: str
    figure: str = ""
    unit: str = ""
    lines: tuple[str, ...] = ()
    event: str = ""
    at: str = ""
    share: float | None = None
    later: bool = False


def rooms(loop: Loop) -> list[Room]:
    """Every room, in the order in which work goes round."""
    return [
        _data(loop), _run(loop), _versions(loop), _endpoint(loop),
        _monitoring(loop), _review(loop), _annotations(loop), _watch(loop),
    ]  # fmt: skip


def _data(loop: Loop) -> Room:
    data = loop.data
    if data.problem:
        return _room("data", "bad", "cannot be read")
    if not data.sha256:
        return _room("data", "calm", "none yet", lines=("A run makes it.",))
    classes = "1 class" if data.classes == 1 else f"{data.classes} classes"
    learned = (f"with {data.annotations} annotations",) if data.annotations else ()
    return _room("data", "good", data.sha256[:_SHORT], count(data.pictures),
        "pictures", (classes, *learned), "prepared", data.at,
    )  # fmt: skip


def _run(loop: Loop) -> Room:
    run = loop.run
    if run.kind == "none":
        return _room(
            "run",
            "calm",
            "none yet",
            lines=("Prepare, train, export, evaluate, register.",),
        )
    if run.kind == "starting":
        return _room("run", "busy", "starting", event="started", at=run.at)
    if run.kind == "running":
        lines = tuple(line for line in (run.note,) if line)
        unit = f"about {duration(run.left_s)} left" if run.left_s is not None else ""
        return _room("run", "busy", "at work", run.step or "Starting", unit, lines,
            "began", run.at, run.share,
        )  # fmt: skip
    kinds = {"done": "good", "failed": "bad", "refused": "warn", "interrupted": "warn"}
    words = {"done": "ended", "failed": "failed", "refused": "refused", "interrupted": "stopped"}
    figure = f"version {run.version}" if run.version else run.step
    took = (f"took {duration(run.seconds)}",) if run.seconds is not None else ()
    return _room("run", kinds[run.kind], run.kind, figure, "", took, words[run.kind], run.at)


def _versions(loop: Loop) -> Room:
    found = loop.versions
    if found.problem:
        return _room("versions", "bad", "cannot be read")
    if not found.known:
        return _room("versions", "calm", "asking", later=True)
    champion, candidate = found.champion, found.candidate
    if champion is None and candidate is None:
        return _room("versions", "calm", "none yet", lines=("A run registers one.",))
    if champion is None and candidate is not None:
        return _room("versions", "warn", "no champion", f"version {candidate.version}",
            _metric(found.metric, candidate.value), ("waits for a decision",), "registered",
            candidate.at,
        )  # fmt: skip
    assert champion is not None  # noqa: S101  (one of the two is there)
    lines: tuple[str, ...] = ()
    if candidate is not None:
        lines = (
            f"challenger: version {candidate.version}, {_metric(found.metric, candidate.value)}",
        )
    waits = candidate is not None and found.better is not False
    state = "decide" if waits else "champion"
    return _room("versions", "warn" if waits else "good", state,
        f"version {champion.version}", _metric(found.metric, champion.value), lines,
        "champion since", champion.at,
    )  # fmt: skip


def _endpoint(loop: Loop) -> Room:
    served = loop.endpoint
    where = (served.url,) if served.url else ("It takes any free port (serving.port is 0).",)
    if served.answers:
        asked = () if served.requests is None else (_requests(served),)
        kind = {"serving": "good", "switching": "busy"}.get(served.state, "bad")
        if served.state == "serving" and served.expected not in ("", served.version):
            kind = "warn"
        return _room(
            "endpoint", kind, served.state, f"version {served.version}", "", (*asked, *where),
            "seen since", served.since,
        )  # fmt: skip
    if served.state == "starting":
        return _room("endpoint", "busy", "starting", lines=where)
    if served.last_words:
        return _room("endpoint", "bad", "failed", lines=(served.last_words,))
    if served.state == "stranger":
        return _room("endpoint", "warn", "another's", lines=where)
    if served.state == "unknown":
        return _room("endpoint", "calm", "asking", later=True)
    return _room("endpoint", "calm", "not serving", lines=where)


def _monitoring(loop: Loop) -> Room:
    found = loop.monitoring
    if found.problem:
        return _room("monitoring", "bad", "cannot be read")
    if loop.overlooked and not found.alarms and found.worse is None:
        return _room("monitoring", "warn", "not looked at", found.captured.figure,
            "captured, not looked at", (f"{count(found.pictures)} pictures looked at",), "looked",
            found.at,
        )  # fmt: skip
    if not found.version:
        text = (
            "Nobody has looked at what was captured."
            if found.captures
            else ("serving.capture_share says how much the server keeps.")
        )
        return _room("monitoring", "calm", "no look yet", lines=(text,))
    figure, unit, event, at = count(found.pictures), "pictures looked at", "looked", found.at
    kind, state = "good", "no alarm"
    lines: tuple[str, ...] = (f"of version {found.version}",)
    anew = (f"{count(found.tested)} {_ANEW}",) if found.before else ()
    alarm = found.quality or found.drift
    if alarm is not None:
        kind = "bad" if alarm.kind == "quality" else "warn"
        state = "quality alarm" if alarm.kind == "quality" else "drift alarm"
        lines, event, at = (alarm.told,), "moved since", alarm.since
    elif found.worse is not None:
        kind, state, lines = "warn", "likely worse", (found.worse.words, *anew)
    elif not found.pictures:
        kind, state = "calm", "no picture yet"
    elif not found.tested:
        kind, state, figure, unit = "calm", "nothing to say yet", "0", _ANEW
        lines = (f"{count(found.pictures)} looked at before", *lines)
    else:
        lines = (*anew, *lines)
    if loop.overlooked:
        lines = (*lines, f"{found.captured.figure} captured, not looked at")
    return _room("monitoring", kind, state, figure, unit, lines, event, at)


def _review(loop: Loop) -> Room:
    found = loop.review
    if found.problem:
        return _room("review", "bad", "cannot be read")
    if not found.at:
        return _room(
            "review",
            "calm",
            "empty",
            lines=("Drift, doubt and chance fill it.",),
        )
    lines = (f"{count(found.answered)} answered, {count(found.waiting)} may be asked later",)
    if not found.asked:
        return _room("review", "good", "nothing asked", "nothing", "waits", lines, "changed",
            found.at,
        )  # fmt: skip
    unit = "waits for an answer" if found.asked == 1 else "wait for an answer"
    return _room("review", "warn", "asked", count(found.asked), unit, lines, "changed", found.at)


def _annotations(loop: Loop) -> Room:
    found = loop.annotations
    if found.problem:
        return _room("annotations", "bad", "cannot be read")
    if not found.count:
        return _room(
            "annotations",
            "calm",
            "none yet",
            lines=("Answers become annotations.",),
        )
    kind, state = ("good", "all learned") if not found.new else ("calm", "new")
    if found.new >= found.worth:
        state = "worth a run"
    lines = (f"of {count(found.count)}; a run is worth {found.worth}",)
    return _room("annotations", kind, state, count(found.new),
        "not yet learned from", lines, "the last came", found.at,
    )  # fmt: skip


def _watch(loop: Loop) -> Room:
    found = loop.watch
    if found.problem:
        return _room("watch", "bad", "cannot be read")
    lively = next((line for line in found.triggers if line.lively), None)
    names = ", ".join(line.what for line in found.triggers if line.enabled) or "nothing"
    if found.starting:
        return _room("watch", "busy", "starting", lines=(f"for {names}",))
    if not found.running:
        kind, state = ("bad", "failed") if found.failed else ("calm", "off")
        return _room("watch", kind, state, lines=("No trigger starts a run.",))
    lines = (f"{lively.what}: {lively.now}",) if lively else (f"for {names}",)
    state = "at work" if lively else "watching"
    event = "started" if found.since else ""
    return _room("watch", "busy" if lively else "good", state, lines=lines,
        event=event, at=found.since,
    )  # fmt: skip


def _room(
    key: str,
    kind: str,
    state: str,
    figure: str = "",
    unit: str = "",
    lines: tuple[str, ...] = (),
    event: str = "",
    at: str = "",
    share: float | None = None,
    later: bool = False,
) -> Room:
    name, to = _ROOMS[key]
    return Room(key, name, to, kind, state, figure, unit, lines, event, at, share, later)


def _metric(name: str, value: float | None) -> str:
    shown = metric_name(name)
    return shown if value is None else f"{shown} {percent(value)}"


def _requests(served: Served) -> str:
    asked = f"{count(served.requests or 0)} requests"
    return asked if served.p50_ms is None else f"{asked}, half within {served.p50_ms:.3g} ms"
