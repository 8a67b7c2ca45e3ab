"""A look as people see it in a terminal."""

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pixloop.monitoring.alarms import Alarm
from pixloop.monitoring.evidence import GROUP_WORDS, SignalEvidence
from pixloop.monitoring.look import Look

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 40
_MOST_CLASSES = 12


def sparkline(values: Sequence[float], most: float = 1.0, width: int = _WIDTH) -> str:
    """Numbers from 0 to ``most`` as blocks; of more than ``width``, the highest of each stretch.

    >>> sparkline([0, 0.5, 1.0, 2.0])
    '▁▅██'
    """
    if len(values) > width:
        edges = [i * len(values) // width for i in range(width + 1)]
        values = [max(values[a:b]) for a, b in pairwise(edges)]
    places = [min(max(value / most, 0.0), 1.0) * (len(_BLOCKS) - 1) for value in values]
    return "".join(_BLOCKS[round(place + 1e-9)] for place in places)


def render_look(look: Look) -> Group:
    """Alarms first, then what they rest on."""
    head = Text.assemble(
        (look.model, "bold"),
        f"  {look.seen:,} pictures, {look.new:,} of them new".replace(",", " "),
    )
    if look.damaged:
        head.append(f", {look.damaged} captures could not be read", "yellow")
    parts: list[Text | Table] = [head, Text()]
    if not look.seen:
        words = "Nothing was captured yet. serving.capture_share says how much is kept."
        return Group(*parts, Text(words, "dim"))
    parts += [line for alarm in look.open_alarms for line in _alarm(alarm)]
    if not look.open_alarms:
        parts.append(_verdict(look))
    return Group(*parts, Text(), _drift(look), Text(), *_mix(look), _rates(look))


def _verdict(look: Look) -> Text:
    """What may be said where no alarm is open: nothing, before anything was tested."""
    if look.tested:
        return Text(f"✓ Nothing has moved in {look.tested:,} pictures.".replace(",", " "), "green")
    return Text("No picture has come since the test began anew: nothing can be said yet.", "dim")


def _alarm(alarm: Alarm) -> list[Text]:
    style = "bold red" if alarm.matters else "yellow"
    since = f" Since {alarm.since:%Y-%m-%d %H:%M:%S} UTC." if alarm.since else ""
    lines = [Text.assemble(("✕ " if alarm.matters else "! ", style), (alarm.words, style), since)]
    if alarm.detail:
        lines.append(Text(f"  {alarm.detail}", "dim"))
    cost = alarm.accuracy
    if cost is not None:
        verdict = "this matters" if alarm.matters else "it may cost no accuracy"
        lines.append(
            Text(
                f"  Estimated accuracy since: {cost.accuracy:.1%} "
                f"({cost.low:.1%} to {cost.high:.1%}), "
                f"{cost.reference_accuracy:.1%} in the reference: {verdict}."
            )
        )
    return lines


def _drift(look: Look) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("drift")
    table.add_column("evidence over the stream")
    table.add_column("of its limit", justify="right")
    table.add_column("most moved")
    for curve in look.evidence.curves:
        signals = [s for s in look.evidence.signals if s.group == curve.group]
        top = max(signals, key=lambda s: s.evidence)
        style = "red" if any(s.moved for s in signals) else "green"
        table.add_row(
            GROUP_WORDS[curve.group],
            Text(sparkline(curve.shares), style),
            Text("alarm" if style == "red" else f"{top.share:.0%}", style),
            Text(top.words, "" if top.moved else "dim"),
        )
    return table


def _mix(look: Look) -> list[Table | Text]:
    rows = [s for s in look.evidence.signals if s.group == "classes" and s.now is not None]
    if not rows:
        return []
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("class mix", "", "now", "reference"):
        table.add_column(name, justify="right" if name in ("now", "reference") else "left")
    most = max(max(s.now or 0.0, s.then or 0.0) for s in rows) or 1.0
    for signal in sorted(rows, key=lambda s: -(s.now or 0.0))[:_MOST_CLASSES]:
        bar = "█" * round((signal.now or 0.0) / most * 20)
        table.add_row(signal.name.partition(":")[2], bar, *_shares(signal))
    return [table, Text()]


def _shares(signal: SignalEvidence) -> tuple[str, str]:
    return f"{signal.now or 0.0:.2f}", f"{signal.then or 0.0:.2f}"


def _rates(look: Look) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    if look.referral_rate is not None:
        table.add_row("referred to people", f"{look.referral_rate:.1%}", "of the latest pictures")
    if (cost := look.accuracy) is not None:
        words = f"{cost.low:.1%} to {cost.high:.1%}; {cost.reference_accuracy:.1%} in the reference"
        table.add_row("estimated accuracy", f"{cost.accuracy:.1%}", words)
    if (quality := look.quality) is None:
        table.add_row("quality", "–", "nobody has checked pictures drawn at random")
    else:
        words = f"{quality.low:.1%} to {quality.high:.1%} of {quality.labels} checked; "
        words += f"{quality.expected:.1%} in the evaluation  "
        words += sparkline([w.value for w in quality.windows])
        table.add_row(quality.metric, f"{quality.value:.1%}", words)
    if (server := look.server) is not None:
        words = f"of {server.requests:,} requests failed; ".replace(",", " ")
        words += f"{server.refused:.2%} refused, {server.wrong:.2%} asked wrongly"
        table.add_row("server", f"{server.failed:.2%}", words)
        if server.p50_ms is not None and server.p99_ms is not None:
            table.add_row("latency", f"{server.p50_ms:.1f} ms", f"p50; p99 {server.p99_ms:.1f} ms")
    return table
