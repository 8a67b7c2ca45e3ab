"""A look as one HTML file: no script, no outside resource. The verdict comes first."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pixloop import __version__
from pixloop.monitoring.evidence import GROUP_WORDS, SignalEvidence
from pixloop.monitoring.look import Look
from pixloop.monitoring.plots import evidence_plot, quality_plot
from pixloop.monitoring.unlike import SHOWN

_FAR = 99.95
_OFF = 0.5  #: of a standard deviation: what is marked among the picture statistics


def render_report(look: Look, name: str, unlike: Sequence[bytes], typical: Sequence[bytes]) -> str:
    """The report as HTML.

    Args:
        look: what was found.
        name: the project's.
        unlike: JPEGs of the latest open drift alarm; may be empty.
        typical: JPEGs of the reference.
    """
    signals = look.evidence.signals
    return (
        _environment()
        .get_template("monitoring.html")
        .render(
            look=look,
            name=name,
            made=datetime.now(UTC),
            version=__version__,
            alarms=sorted(look.open_alarms, key=lambda alarm: not alarm.matters),
            past=[alarm for alarm in look.alarms if alarm.acknowledged],
            groups=[_group(look, curve.group) for curve in look.evidence.curves],
            curves=evidence_plot(look.evidence),
            classes=[s for s in signals if s.group == "classes"],
            most=max(
                [s.now or 0 for s in signals if s.group == "classes"]
                + [s.then or 0 for s in signals if s.group == "classes"]
                + [1e-9]
            ),
            statistics=[describe_statistic(s) for s in signals if s.group == "picture"],
            unlike=[_data(each) for each in unlike[:SHOWN]],
            typical=[_data(each) for each in typical[:SHOWN]],
            quality_curve=quality_plot(look.quality) if look.quality else None,
        )
    )


def _group(look: Look, group: Any) -> dict[str, Any]:
    signals = [s for s in look.evidence.signals if s.group == group]
    top = max(signals, key=lambda s: s.evidence)
    return {
        "words": GROUP_WORDS[top.group],
        "top": top,
        "moved": [s for s in signals if s.moved],
        "count": len(signals),
    }


def describe_statistic(signal: SignalEvidence) -> dict[str, Any]:
    """How far a signal is from the reference, in its standard deviations there."""
    if signal.now is None or signal.then is None:
        return {"signal": signal, "off": None, "shown": "", "far": False}
    off = (signal.now - signal.then) / max(signal.spread or 0.0, 1e-6)
    shown = f"{off:+.1f}" if abs(off) < _FAR else "over 99"
    return {"signal": signal, "off": off, "shown": shown.replace("-", "−"), "far": abs(off) >= _OFF}


def _data(picture: bytes) -> Markup:
    return Markup("data:image/jpeg;base64,") + b64encode(picture).decode()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pixloop.monitoring"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=lambda share: f"{share:.1%}".replace("%", "\xa0%"),
        count=lambda n: f"{n:,}".replace(",", "\u202f"),
        moment=lambda at: f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        number=lambda x: "–" if x is None else f"{x:.3g}".replace("-", "−"),
    )
    return environment
