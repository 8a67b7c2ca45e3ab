"""Whether all is well with the loop, and if not, what to do first: decided from its state alone.

The findings in the order of their urgency, and so of the list of actions; the first gives the
headline. ``bad`` is broken or does harm, ``warn`` waits for a person, ``calm`` is a suggestion and
leaves all well.

====  ==================================================  ================
bad   something of the project's cannot be read           where it is
bad   a quality alarm is open                             /monitoring
bad   the last run failed                                 its page
bad   the server that was started here has failed         /models
bad   the server did not take the champion over           /models
bad   the watch that was started here has failed          the log below
warn  a drift alarm is open                               /monitoring
warn  no alarm is open, and answers are likely worse      /monitoring
warn  captures were not looked at, and no watch does      /monitoring
warn  something else answers in the server's place        /models
warn  the server answers with another version             /models
warn  the server fails on more than 1 % of requests       /monitoring
warn  the last run's model did not meet the gate          its page
warn  the last run was interrupted                        its page
warn  a version waits for a decision                      /models
warn  pictures wait for people's answers                  /review
calm  there is no run yet                                 /runs/new
calm  annotations are worth a run, and no watch begins it /runs/new
calm  a new version is no better than the champion        /models
calm  nothing serves the version that should be served    /models
calm  no watch runs                                       the watch below
====  ==================================================  ================

Captures count as not looked at from 30 requests on, and where nothing was ever looked at, from the
first on (``Loop.overlooked``). While a run is at work, what the last one came to is past, and
without anything bad or waiting the headline tells of the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pixloop.web.home.loop import Loop
from pixloop.web.rendering import count, percent

Kind = Literal["bad", "warn", "busy", "good", "calm"]

_FAILING = 0.01


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know, and what can be done about it.

    Attributes:
        kind: ``bad``, ``warn`` or ``calm``.
        title: a few words, fit for the headline.
        words: a sentence or two.
        label: what is done, as a link says it.
        to: the page where.
    """

    kind: Kind
    title: str
    words: str
    label: str
    to: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The headline, and what to do.

    Attributes:
        kind: of the headline.
        title: of the headline.
        words: a sentence.
        todo: what is wrong or waits, the most urgent first.
        suggestions: what could be done, where all is well.
    """

    kind: Kind
    title: str
    words: str
    todo: tuple[Finding, ...] = ()
    suggestions: tuple[Finding, ...] = ()


def judge(loop: Loop) -> Verdict:
    """Whether all is well."""
    findings = [*_broken(loop), *_waiting(loop), *_suggested(loop)]
    todo = tuple(each for each in findings if each.kind != "calm")
    suggestions = tuple(each for each in findings if each.kind == "calm")
    if todo:
        return Verdict(todo[0].kind, todo[0].title, todo[0].words, todo, suggestions)
    if loop.run.kind in ("starting", "running"):
        return Verdict("busy", "A run is at work", _about_run(loop), (), suggestions)
    if not loop.versions.known:
        return Verdict("busy", "One moment", "The registry is being asked for its versions.")
    if loop.untouched:
        words = (
            "The first run makes a data set of the pictures, trains a model, proves how good it "
            "is, and registers it as version 1."
        )
        return Verdict("calm", "Nothing has happened yet", words, (), suggestions)
    return Verdict("good", "All is well", _all_well(loop), (), suggestions)


# ---- bad


def _broken(loop: Loop) -> Iterator[Finding]:
    for name, problem, to in (
        ("The registry", loop.versions.problem, "/models"),
        ("The data set", loop.data.problem, "/data"),
        ("Monitoring", loop.monitoring.problem, "/monitoring"),
        ("The review queue", loop.review.problem, "/review"),
        ("The annotations", loop.annotations.problem, "/review"),
        ("The watch", loop.watch.problem, "#watch"),
    ):
        if problem:
            yield Finding("bad", f"{name} cannot be read", problem, "See where", to)
    quality = loop.monitoring.quality
    if quality is not None:
        yield Finding(
            "bad", "Too many answers are wrong", quality.words, "Look at the evidence",
            "/monitoring",
        )  # fmt: skip
    if loop.run.kind == "failed":
        where = f" in {loop.run.step}" if loop.run.step else ""
        words = f"It stopped{where}: {_first_line(loop.run.failure)}"
        yield Finding("bad", "The last run failed", words, "See why, and try again", _run(loop))
    if loop.endpoint.last_words:
        words = f"Nothing serves. Its last words: {loop.endpoint.last_words}"
        yield Finding("bad", "The server has failed", words, "Start it again", "/models")
    if loop.endpoint.state == "refused":
        served = loop.endpoint
        words = (
            f"Version {served.expected} did not answer as its certificate says, so version "
            f"{served.version} goes on."
        )
        yield Finding("bad", "The server refused the champion", words, "See how", "/models")
    if loop.watch.failed:
        words = f"Its last words: {loop.watch.failed}"
        yield Finding("bad", "The watch has failed", words, "Start it again", "#watch")


# ---- warn


def _waiting(loop: Loop) -> Iterator[Finding]:
    yield from _drifting(loop)
    yield from _looking(loop)
    yield from _serving(loop)
    if loop.run.kind == "refused":
        words = f"No version was registered: {_first_line(loop.run.failure)}"
        label = "Read the report"
        yield Finding("warn", "The gate refused the last model", words, label, _run(loop))
    if loop.run.kind == "interrupted":
        words = "Begun again, it reuses the steps that were done."
        label = "Go on with it"
        yield Finding("warn", "The last run was interrupted", words, label, _run(loop))
    yield from _deciding(loop)
    if loop.review.asked:
        words = "The next run learns from the answers."
        title = f"{_pictures(loop.review.asked)} for an answer"
        yield Finding("warn", title, words, "Answer", "/review")


def _drifting(loop: Loop) -> Iterator[Finding]:
    drift = loop.monitoring.drift
    if drift is not None:
        cost = "" if drift.matters else " It may cost no accuracy."
        yield Finding(
            "warn", "Drift: look at it", drift.told + cost, "See what moved", "/monitoring"
        )


def _looking(loop: Loop) -> Iterator[Finding]:
    worse, captured = loop.monitoring.worse, loop.monitoring.captured
    if worse is not None:
        title = f"Answers are likely worse: estimated accuracy {percent(worse.accuracy)}"
        words = (
            f"It was {percent(worse.before)}. No label tells it: it is estimated on the latest "
            f"{count(worse.pictures)} pictures. A run learns from what people answer for such ones."
        )
        yield Finding("warn", title, words, "See how it is", "/monitoring")
    if loop.overlooked:
        title = f"{captured.words[0].upper()}{captured.words[1:]}"
        words = "Whether pictures have changed, a look tells. No watch is at work that would look."
        yield Finding("warn", title, words, "Look at them", "/monitoring")


def _serving(loop: Loop) -> Iterator[Finding]:
    served = loop.endpoint
    if served.state == "stranger":
        words = f"What answers at {served.url} does not serve this project."
        yield Finding("warn", "Something else has the server's port", words, "See how", "/models")
    stays = served.state == "serving" and served.expected not in ("", served.version)
    if stays or served.state == "switching":
        words = f"Version {served.expected} is the champion. " + (
            "The server takes it over soon."
            if served.state == "switching"
            else "The server does not follow (serving.follow_s is 0): start it again."
        )
        title = f"Version {served.version} still serves"
        yield Finding("warn", title, words, "See how it does", "/models")
    if served.answers and served.failed > _FAILING:
        words = f"The server fails on {served.failed:.1%} of its requests.".replace("%", " %")
        yield Finding("warn", "Requests fail", words, "See how it does", "/monitoring")


def _deciding(loop: Loop) -> Iterator[Finding]:
    candidate, champion = loop.versions.candidate, loop.versions.champion
    if candidate is None or (loop.versions.better is False and champion is not None):
        return
    if champion is None:
        title = f"Version {candidate.version} waits for a decision"
        words = "There is no champion yet. Approved, it becomes the one to serve."
    else:
        title = f"Version {candidate.version} waits for a decision"
        words = loop.versions.reason or "Compare it with the champion."
        words = f"{words[0].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"
    yield Finding("warn", title, words, "Compare and decide", "/models")


# ---- calm


def _suggested(loop: Loop) -> Iterator[Finding]:
    if loop.untouched:
        words = "It takes minutes for some thousand pictures."
        yield Finding("calm", "Start the first run", words, "Start a run", "/runs/new")
        return
    at_work = loop.run.kind in ("starting", "running")
    new, worth = loop.annotations.new, loop.annotations.worth
    if new >= worth and not loop.watch.running and not at_work:
        words = "A run would learn from them."
        yield Finding(
            "calm", f"{new} new annotations are worth a run", words, "Start a run", "/runs/new"
        )
    candidate, champion = loop.versions.candidate, loop.versions.champion
    if candidate and champion and loop.versions.better is False:
        words = f"Version {champion.version} stays the champion, unless a person decides otherwise."
        title = f"Version {candidate.version} is not better"
        yield Finding("calm", title, words, "Compare", "/models")
    due, served = loop.versions.served, loop.endpoint
    if due and served.state == "silent" and not served.last_words:
        where = f" at {served.url}" if served.url else ""
        words = f"Nothing serves here now. 'pixloop serve' answers{where}."
        yield Finding("calm", f"Serve version {due}", words, "Start the server", "/models")
    if not loop.watch.running and not loop.watch.failed:
        words = "Nobody watches now: a run begins only where a person starts it."
        yield Finding("calm", "Start the watch", words, "Start the watch", "#watch")


# ---- words


def _all_well(loop: Loop) -> str:
    champion, seen = loop.versions.champion, loop.monitoring
    parts = [f"version {champion.version} is the champion" if champion else "no version waits"]
    if seen.tested:
        parts.append(f"no alarm is open after {count(seen.tested)} pictures")
    elif seen.pictures:
        parts.append("no picture has come since the test of drift began anew")
    parts.append("nothing waits for you")
    text = ", ".join(parts[:-1]) + f", and {parts[-1]}."
    return f"{text[0].upper()}{text[1:]}"


def _about_run(loop: Loop) -> str:
    if loop.run.kind == "starting" or not loop.run.step:
        return "It is starting."
    return f"{loop.run.step} is at work. Nothing waits for you."


def _run(loop: Loop) -> str:
    return f"/runs/{loop.run.id}"


def _pictures(number: int) -> str:
    return "1 picture waits" if number == 1 else f"{number} pictures wait"


def _first_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "it does not say why."
