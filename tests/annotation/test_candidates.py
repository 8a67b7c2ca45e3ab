from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import stats
from tests.annotation.waiting import answer

from pixloop.annotation.candidates import Wanted, draw_lot, find_candidates, report_candidate
from pixloop.annotation.looks import ChallengerAnswers, look_for_drift
from pixloop.monitoring.observations import Observation
from pixloop.serving.capture.format import encode_capture
from pixloop.serving.observing.observation import Exchange

START = datetime(2026, 5, 4, tzinfo=UTC)


def observation(number: int, decision: str = "accept", **changes) -> Observation:
    values = np.array([number / 100], np.float32)
    found = Observation(
        f"event{number}:0", START + timedelta(seconds=number), "pets:1", f"{number:064x}",
        answer(), 0.5, decision, values, np.zeros(3, np.float32),
    )  # fmt: skip
    return replace(found, **changes)


def read(found: Observation) -> bytes | None:
    return found.sha256.encode()


def test_what_is_referred_is_a_candidate_and_what_is_accepted_is_not():
    some = [observation(n, "refer" if n % 10 == 0 else "accept") for n in range(50)]
    found = list(find_candidates(some, read, Wanted(random=0, most=100)))
    assert {each.origin["event"] for each in found} == {f"event{n}:0" for n in range(0, 50, 10)}
    assert {reason.kind for each in found for reason in each.reasons} == {"unsure"}
    assert found[0].model == "pets:1"


def test_only_the_most_doubtful_are_held():
    def unsure(n):
        top = 0.5 + n / 200
        return observation(n, "refer", answer=answer(cat=top, dog=1 - top))

    found = find_candidates(map(unsure, range(80)), read, Wanted(random=0, most=5))
    assert {each.sha256 for each in found} == {f"{n:064x}" for n in range(5)}


def test_the_draw_sees_nothing_of_a_picture():
    some = [observation(n, "refer" if n < 1000 else "accept") for n in range(4000)]
    found = list(find_candidates(some, read, Wanted(random=400, most=0)))
    drawn = [e for e in found if "random" in {reason.kind for reason in e.reasons}]
    assert len(drawn) == 400
    hard = sum(any(reason.kind == "unsure" for reason in e.reasons) for e in drawn)
    # A quarter is hard, and so is, but for chance, a quarter of those drawn.
    assert stats.binomtest(hard, 400, 0.25).pvalue > 1e-3
    again = [replace(each, decision="accept", answer=answer("dog")) for each in some]
    other = find_candidates(again, read, Wanted(random=400, most=0))
    assert {e.sha256 for e in other} == {e.sha256 for e in drawn}


def test_lots_are_even():
    lots = [draw_lot(f"{n}:0") for n in range(2000)]
    assert stats.kstest(lots, "uniform").pvalue > 1e-3


def test_known_pictures_and_those_that_are_gone_are_left_out():
    some = [observation(n, "refer") for n in range(10)]
    known, gone = f"{3:064x}", f"{4:064x}"
    wanted = Wanted(random=10, most=10, known=lambda sha256: sha256 == known)
    found = find_candidates(some, lambda o: None if o.sha256 == gone else b"x", wanted)
    assert {each.sha256 for each in found} == {s.sha256 for s in some} - {known, gone}


def test_since_a_drift_alarm_the_most_unlike_weigh_most():
    reference = np.linspace(0, 0.2, 50, dtype=np.float32)
    look = look_for_drift(START + timedelta(seconds=10), 0, "brightness", reference)
    assert look(observation(5)) is None
    assert look(observation(11)).weight < look(observation(15)).weight
    far = look(observation(90))
    assert far.weight == 1.0
    assert far.detail == "brightness 0.9, above 100 % of the reference"
    assert look(observation(20, values=np.array([np.nan], np.float32))) is None


@pytest.fixture
def captures(tmp_path):
    def write(endpoint, model, labels):
        folder = tmp_path / endpoint / "2026/05/04/03"
        folder.mkdir(parents=True)
        offset, offsets = 0, []
        with (folder / "00-00-000-a.jsonl").open("wb") as file:
            for number, label in enumerate(labels):
                body = (
                    f'{{"model": "{model}", "predictions": [{{"label": "{label}", "score": 0.9, '
                    f'"decision": "accept", "probabilities": {{"{label}": 0.9}}}}]}}'
                ).encode()
                line = encode_capture(
                    Exchange(f"r{number}", model, 1e9, "image/png", b"x", 200, body,
                             "application/json")
                )  # fmt: skip
                offsets.append(offset)
                offset += file.write(line)
        return f"{endpoint}/2026/05/04/03/00-00-000-a.jsonl", offsets

    return tmp_path, write


def test_where_a_challenger_disagrees_is_asked(captures):
    folder, write = captures
    file, offsets = write("pets", "pets:1", ["cat", "cat", "dog"])
    write("shadow-2", "pets:2", ["cat", "dog"])
    challenger = ChallengerAnswers(folder)
    assert len(challenger) == 2

    def seen(number, label):
        said = {**answer(label), "score": 0.8}
        return observation(number, file=file, offset=offsets[number], answer=said)

    assert challenger(seen(0, "cat")) is None
    assert challenger(seen(2, "dog")) is None  # it had no time for this one
    reason = challenger(seen(1, "cat"))
    assert (reason.kind, reason.detail) == ("disagreement", "cat 80 % against dog 90 % (pets:2)")
    assert reason.weight == pytest.approx(0.85)
    assert challenger(observation(1, file="gone.jsonl")) is None


def test_damaged_captures_of_a_challenger_stop_nothing(captures):
    folder, write = captures
    write("shadow-2", "pets:2", ["cat"])
    (folder / "shadow-2" / "bad.jsonl").write_bytes(b"{not json\n")
    assert len(ChallengerAnswers(folder)) == 1


def test_a_reported_picture_weighs_most():
    reported = report_candidate(b"x", "that is a van", {}, "")
    assert [(r.kind, r.detail, r.weight) for r in reported.reasons] == [
        ("reported", "that is a van", 1.0)
    ]
