"""The study on tiny worlds: what it writes, what it shows, and what the gate makes of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pixloop.bundle import Bundle
from pixloop.config_file import parse_config
from pixloop.data.corruptions import CORRUPTIONS
from pixloop.data.dataset import Dataset
from pixloop.errors import ConfigError
from pixloop.evaluation.robustness.study import study_robustness
from pixloop.evaluation.section import Contender, Section, Subject
from pixloop.evaluation.summary import judge_kept

Maker = Callable[..., Path]
CLASSIFICATION = {"task": "classification", "data": "."}


def study(
    make_bundle: Maker, make_dataset: Maker, *settings: str, champion: Path | None = None
) -> Section | None:
    """The study of the tiny world of colours."""
    rival = Contender(Bundle.open(champion), None) if champion else None
    config = parse_config(
        CLASSIFICATION, ["robustness.pictures=12", "robustness.severities=[1,5]", *settings]
    )
    data = Dataset.open(make_dataset(muddle=0.4))
    return study_robustness(Subject(config, Bundle.open(make_bundle()), data, None, rival))


def test_every_number_is_there_and_is_json(make_bundle: Maker, make_dataset: Maker) -> None:
    section = study(make_bundle, make_dataset)
    assert section is not None
    content = json.loads(json.dumps(section.content, allow_nan=False))
    assert (content["pictures"], content["metric"]) == (12, "accuracy")
    assert set(content["corruptions"]) == set(CORRUPTIONS)
    assert set(content["corruptions"]["fog"]["severities"]) == {"1", "5"}
    assert set(content["curves"]) == {"rotation", "crop", "compression", "resolution"}
    errors = [row["error"] for row in content["corruptions"].values()]
    assert content["mce"] == pytest.approx(sum(errors) / 15)
    assert content["kept_share"] == pytest.approx(
        (1 - content["mce"]) / content["clean"]["accuracy"]
    )
    # Colour is all that is looked at: turning costs nothing.
    assert all(point["kept_share"] > 0.9 for point in content["curves"]["rotation"])
    assert content["champion"] is None
    assert "torchscript" in content["attacks"]["none"]
    assert section.good is None
    assert "15 corruptions" in section.verdict
    assert "glass blur" in section.body
    assert "<svg" in section.body


def test_the_same_study_finds_the_same(make_bundle: Maker, make_dataset: Maker) -> None:
    first, second = (study(make_bundle, make_dataset) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.content == second.content


def test_a_champion_like_the_model_has_the_same_errors(
    make_bundle: Maker, make_dataset: Maker
) -> None:
    section = study(make_bundle, make_dataset, champion=make_bundle())
    assert section is not None
    assert section.content["champion"]["mce"] == pytest.approx(section.content["mce"])
    assert section.content["champion"]["relative_mce"] in (None, pytest.approx(1))


def test_no_pictures_no_study(make_bundle: Maker, make_dataset: Maker) -> None:
    assert study(make_bundle, make_dataset, "robustness.pictures=0") is None


def test_it_is_good_or_bad_only_where_the_gate_asks(
    make_bundle: Maker, make_dataset: Maker
) -> None:
    easy = study(make_bundle, make_dataset, "gate.min_kept_accuracy=0.01")
    # A model that is always wrong keeps nothing.
    poor = lambda: make_bundle(skill=-4.0)  # noqa: E731
    hard = study(poor, make_dataset, "gate.min_kept_accuracy=1")
    assert easy is not None
    assert hard is not None
    assert easy.good is True
    assert hard.good is False


def test_asking_for_what_is_not_measured_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"robustness\.pictures is 0"):
        parse_config(CLASSIFICATION, ["gate.min_kept_accuracy=0.5", "robustness.pictures=0"])


@pytest.mark.parametrize(
    ("kept", "passes", "words"),
    [(0.7, True, ""), (0.69, False, "0.6900, 0.0100 below 0.7"), (None, False, "not measured")],
)
def test_the_gate_says_what_is_missing(kept: float | None, passes: bool, words: str) -> None:
    gate = parse_config(CLASSIFICATION, ["gate.min_kept_accuracy=0.7"]).gate
    judged = judge_kept({"passes": True, "failures": []}, gate, kept)
    assert judged["passes"] is passes
    assert words in " ".join(judged["failures"])


def test_nothing_asked_leaves_the_verdict_alone() -> None:
    gate = parse_config(CLASSIFICATION).gate
    judged = {"passes": True, "failures": []}
    assert judge_kept(judged, gate, None) is judged
