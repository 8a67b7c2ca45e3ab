"""What a comparison says, in words."""

from collections.abc import Sequence

from pixloop.evaluation.comparison.by_slice import SlicePair
from pixloop.evaluation.comparison.findings import Findings
from pixloop.evaluation.comparison.measures import Difference

#: Names of this many slices are said; of more, how many there are.
_NAMED = 3
#: Times this much faster or slower is worth a word.
_LATENCY_FACTOR = 1.1


def word_verdict(found: Findings, challenger: str, champion: str) -> list[str]:
    """Sentences, the most important first.

    Args:
        found: the comparison.
        challenger: what it is called, such as "version 4".
        champion: the same.
    """
    if found.same_model:
        return [f"{_capital(challenger)} and {champion} are the same model, byte for byte."]
    sentences = [_overall(found, challenger, champion), _on_slices(found, challenger)]
    sentences += [
        _calibration(found),
        _accepting(found),
        _robustness(found),
    ]
    sentences.append(_latency(found))
    return [sentence for sentence in sentences if sentence]


def _overall(found: Findings, challenger: str, champion: str) -> str:
    paired = found.paired
    sized, interval = number(abs(paired.difference)), (paired.low, paired.high)
    pictures = f"on {paired.pictures:,} pictures"
    if found.better is None:
        if not (paired.gained or paired.lost):
            return (
                f"{_capital(challenger)} and {champion} answer all {paired.pictures:,} pictures "
                f"equally well; what may differ lies within {number(paired.high)} points."
            )
        return (
            f"Undecided: {challenger} measures {number(paired.difference, signed=True)} points "
            f"against {champion} ({_range(*interval)}) {pictures}, which may be chance "
            f"(p = {found.p:.2g})."
        )
    if found.better:
        return (
            f"{_capital(challenger)} is better than {champion} by {sized} points "
            f"({_range(*interval)}) {pictures}."
        )
    low, high = -paired.high, -paired.low
    return (
        f"{_capital(challenger)} is worse than {champion} by {sized} points "
        f"({_range(low, high)}) {pictures}."
    )


def _on_slices(found: Findings, challenger: str) -> str:
    if not found.slices:
        return ""
    worse = [row for row in found.slices if row.better is False]
    better = [row for row in reversed(found.slices) if row.better]
    lost = f"on no slice that the data can show, of {len(found.slices)}"
    if worse:
        lost = f"on {_name_slices(worse)}"
    gained = f" It is better on {_name_slices(better)}." if better else ""
    return f"{_capital(challenger)} is worse {lost}.{gained}"


def _calibration(found: Findings) -> str:
    """By the log loss, which a classifier has, else by the calibration error."""
    names = {each.measure.name for each in found.measures}
    measure = found.measure("log_loss" if "log_loss" in names else "ece")
    if measure.better is None:
        return ""
    which = "more" if measure.better else "less"
    return (
        f"Its scores are {which} to be trusted: the {measure.measure.title} is {_change(measure)}."
    )


def _accepting(found: Findings) -> str:
    share = found.measure("accepted_share")
    if share.low is None or share.high is None or share.low <= 0 <= share.high:
        return ""
    which = "more" if share.low > 0 else "less"
    return f"It accepts {which} without a person: {_change(share)}."


def _robustness(found: Findings) -> str:
    if found.worsened is None or found.worsened.kept.better is None:
        return ""
    kept = found.worsened.kept
    which = "more" if kept.better else "less"
    return f"It keeps {which} of its skill when pictures are made worse: {_change(kept)}."


def _latency(found: Findings) -> str:
    latency = found.latency
    if latency is None:
        return ""
    times = latency.champion_ms / latency.challenger_ms
    if 1 / _LATENCY_FACTOR < times < _LATENCY_FACTOR:
        return ""
    which = "sooner" if times > 1 else "later"
    how = (
        "each in its own run, when the machine may have been busy"
        if latency.same_machine
        else "on different machines"
    )
    return (
        f"It answers {which}: {latency.challenger_ms:.1f} ms instead of "
        f"{latency.champion_ms:.1f} ms, measured {how}."
    )


def _name_slices(rows: Sequence[SlicePair]) -> str:
    """Slices with their differences, the most different first."""
    words = [
        f"“{row.slice.words}” by {number(abs(row.paired.difference))} points"
        for row in rows[:_NAMED]
    ]
    if len(rows) > _NAMED:
        return f"{len(rows)} slices, most on {words[0]}"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _change(row: Difference) -> str:
    if row.difference is None or row.low is None or row.high is None:
        return "–"
    if row.measure.share:
        interval = _range(row.low, row.high)
        return f"{number(row.difference, signed=True)} points ({interval})"
    text = f"{row.difference:+.3f} ({row.low:.3f} to {row.high:.3f})"
    return text.replace("-", "−")


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}"


def number(share: float, signed: bool = False) -> str:
    """A difference of shares in percentage points.

    >>> number(0.0214), number(-0.004), number(0.0214, signed=True)
    ('2.1', '−0.4', '+2.1')
    """
    text = f"{share * 100:{'+' if signed else ''}.1f}".replace("-", "−")
    return "0.0" if text.strip("+−") == "0.0" else text


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
