from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.slices.cases import slice_of

from pixloop.evaluation.comparison.by_slice import SlicePair, compare_slices
from pixloop.evaluation.comparison.findings import Findings, Latency, judge
from pixloop.evaluation.comparison.measures import Difference, Measure
from pixloop.evaluation.comparison.paired import Floats, compare_paired, two_sided_p
from pixloop.evaluation.comparison.verdict import word_verdict


def worths(both: int, gained: int, lost: int) -> tuple[Floats, Floats]:
    challenger = np.array([1.0] * both + [1.0] * gained + [0.0] * lost)
    champion = np.array([1.0] * both + [0.0] * gained + [1.0] * lost)
    return challenger, champion


def difference(name: str, value: float, low: float, high: float, share: bool = True) -> Difference:
    more = {"ece": False, "log_loss": False}.get(name, None if "accepted" in name else True)
    measure = Measure(name, name.replace("_", " "), more, share, lambda times: times.mean(axis=1))
    return Difference(measure, 0.5, 0.5 + value, value, low, high)


EQUAL = [difference("ece", 0.0, -0.1, 0.1), difference("accepted_share", 0.0, -0.1, 0.1)]


def findings(
    challenger: Floats,
    champion: Floats,
    slices: list[SlicePair] | None = None,
    measures: list[Difference] | None = None,
    latency: Latency | None = None,
    same_model: bool = False,
) -> Findings:
    paired = compare_paired(challenger, champion, 0.975)
    p = two_sided_p(challenger, champion)
    return Findings(
        task="classification",
        same_model=same_model,
        paired=paired,
        p=p,
        better=judge(paired, p),
        slices=slices or [],
        slice_confidence=0.95,
        measures=measures or EQUAL,
        worsened=None,
        latency=latency,
        gained=[],
        lost=[],
    )


def say(found: Findings) -> list[str]:
    return word_verdict(found, "version 2", "version 1")


def test_better_worse_and_undecided_have_their_words() -> None:
    assert say(findings(*worths(500, 30, 10))) == [
        "Version 2 is better than version 1 by 3.7 points (1.5 to 6.2) on 540 pictures."
    ]
    assert say(findings(*worths(500, 10, 30))) == [
        "Version 2 is worse than version 1 by 3.7 points (1.5 to 6.2) on 540 pictures."
    ]
    (undecided,) = say(findings(*worths(520, 12, 8)))
    assert undecided.startswith("Undecided: version 2 measures +0.7 points against version 1 (−")
    assert undecided.endswith("on 540 pictures, which may be chance (p = 0.5).")


def test_what_both_answer_alike_is_said_with_what_may_differ() -> None:
    (words,) = say(findings(*worths(540, 0, 0)))
    assert words == (
        "Version 2 and version 1 answer all 540 pictures equally well; what may differ lies "
        "within 0.7 points."
    )


def test_of_one_model_nothing_else_is_said() -> None:
    found = findings(*worths(540, 0, 0), same_model=True, latency=Latency(2.0, 5.0, True))
    assert say(found) == ["Version 2 and version 1 are the same model, byte for byte."]


@pytest.mark.parametrize(("gained", "lost"), [(5, 0), (0, 5), (6, 1)])
def test_what_the_exact_test_does_not_show_is_undecided(gained: int, lost: int) -> None:
    # The interval alone would leave 0 out of 5 to 0.
    found = findings(*worths(95, gained, lost))
    assert found.p > 0.05
    assert found.better is None


def test_slices_are_named_with_what_they_gain_and_lose() -> None:
    rng = np.random.default_rng(0)
    challenger, champion = worths(400, 30, 30)
    dark = slice_of(np.arange(460) >= 430, "darkest quarter")
    bright = slice_of((np.arange(460) >= 400) & (np.arange(460) < 430), "brightest quarter")
    rest = slice_of(rng.random(460) < 0.3, "cat")
    rows = compare_slices(challenger, champion, [dark, bright, rest], 0.95)
    words = say(findings(challenger, champion, rows))[1]
    assert words == (
        "Version 2 is worse on “darkest quarter” by 100.0 points. "
        "It is better on “brightest quarter” by 100.0 points."
    )
    nothing = compare_slices(champion, champion, [dark, rest], 0.95)
    assert say(findings(champion, champion, nothing))[1] == (
        "Version 2 is worse on no slice that the data can show, of 2."
    )


def test_what_the_data_show_beside_accuracy_is_said_and_nothing_else() -> None:
    measures = [
        difference("log_loss", 0.031, 0.011, 0.056, share=False),
        difference("ece", -0.02, -0.03, -0.01),
        difference("accepted_share", 0.08, 0.05, 0.11),
    ]
    slower = Latency(champion_ms=2.0, challenger_ms=5.0, same_machine=False)
    words = say(findings(*worths(500, 30, 10), measures=measures, latency=slower))
    assert words[1:] == [
        "Its scores are less to be trusted: the log loss is +0.031 (0.011 to 0.056).",
        "It accepts more without a person: +8.0 points (5.0 to 11.0).",
        "It answers later: 5.0 ms instead of 2.0 ms, measured on different machines.",
    ]
    (_, busy) = say(findings(*worths(500, 30, 10), latency=replace(slower, same_machine=True)))
    assert busy == (
        "It answers later: 5.0 ms instead of 2.0 ms, measured each in its own run, when the "
        "machine may have been busy."
    )
    as_fast = Latency(champion_ms=2.0, challenger_ms=2.1, same_machine=True)
    assert len(say(findings(*worths(500, 30, 10), latency=as_fast))) == 1
