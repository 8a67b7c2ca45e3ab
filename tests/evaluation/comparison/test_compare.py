import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.html import assert_accessible

from pixloop.bundle import Bundle
from pixloop.config import Config
from pixloop.data.dataset import Dataset, DatasetWriter
from pixloop.errors import BundleError, DataError
from pixloop.evaluation.comparison.compare import compare_bundles
from pixloop.evaluation.comparison.section import study_comparison
from pixloop.evaluation.evaluate import evaluate
from pixloop.evaluation.scoring import CLASSIFICATION
from pixloop.evaluation.section import Contender, Subject
from pixloop.evaluation.slices.section import study_slices

Maker = Callable[..., Path]


@pytest.fixture
def good(make_bundle: Maker) -> Bundle:
    return Bundle.open(make_bundle())


@pytest.fixture
def blind(make_bundle: Maker) -> Bundle:
    """Takes whatever is dark for blue."""
    return Bundle.open(make_bundle(in_the_dark="blue", latency_ms=1.0))


def test_says_which_is_better_and_where(
    good: Bundle, blind: Bundle, make_dataset: Maker, config: Config, tmp_path: Path
) -> None:
    page = tmp_path / "deep" / "page.html"
    found = compare_bundles(blind, good, make_dataset(), page, config, ("version 1", "version 2"))
    assert found.words[0].startswith("Version 2 is better than version 1 by 16.7 points (")
    assert "Version 2 is worse on no slice that the data can show" in found.words[1]
    assert "better on “darkest quarter” by" in found.words[1]
    assert "It answers later: 2.0 ms instead of 1.0 ms" in found.words[-1]
    assert (found.content["gained"], found.content["lost"]) == (20, 0)
    assert json.loads(json.dumps(found.content, allow_nan=False))["better"] is True
    html = page.read_text(encoding="utf-8")
    assert "Version 2 is better than version 1" in html
    assert_accessible(html)
    assert "://" not in html


def test_turned_round_it_says_the_opposite(
    good: Bundle, blind: Bundle, make_dataset: Maker, config: Config, tmp_path: Path
) -> None:
    found = compare_bundles(good, blind, make_dataset(), tmp_path / "page.html", config)
    assert found.words[0].startswith("B is worse than A by 16.7 points (")
    assert "B is worse on “darkest quarter” by" in found.words[1]
    assert found.content["better"] is False
    dark = next(s for s in found.content["slices"] if s["name"] == "darkest quarter")
    assert (dark["better"], dark["lost"], dark["gained"]) == (False, 20, 0)
    assert dark["high"] < 0


def test_a_model_is_not_better_than_itself(
    good: Bundle, make_dataset: Maker, config: Config, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    found = compare_bundles(good, good, make_dataset(), page, config)
    assert found.words == ["B and A are the same model, byte for byte."]
    assert found.words[0] in page.read_text(encoding="utf-8")
    assert "The same model</h2>" in page.read_text(encoding="utf-8")
    assert (found.content["same_model"], found.content["better"]) == (True, None)
    assert {row["interval"] for row in found.content["measures"].values()} == {None}


def test_the_accuracy_has_one_interval_that_of_the_verdict(
    good: Bundle, blind: Bundle, make_dataset: Maker, config: Config, tmp_path: Path
) -> None:
    content = compare_bundles(blind, good, make_dataset(), tmp_path / "page.html", config).content
    overall, accuracy = content["overall"], content["measures"]["accuracy"]
    assert accuracy["interval"] == [overall["low"], overall["high"]]
    assert accuracy["difference"] == pytest.approx(overall["difference"])


def test_equal_answers_of_two_models_still_leave_an_interval(
    good: Bundle, make_bundle: Maker, make_dataset: Maker, config: Config, tmp_path: Path
) -> None:
    other = Bundle.open(make_bundle(name="other"))
    found = compare_bundles(good, other, make_dataset(), tmp_path / "page.html", config)
    assert found.words[0].startswith("B and A answer all 120 pictures equally well")
    low, high = found.content["measures"]["accuracy"]["interval"]
    assert low < 0 < high


def test_other_classes_are_named(
    good: Bundle, make_bundle: Maker, make_dataset: Maker, config: Config, tmp_path: Path
) -> None:
    other = Bundle.open(make_bundle(classes=("blue", "green", "violet")))
    with pytest.raises(BundleError, match=r"B knows other classes.*'violet'.*'red'"):
        compare_bundles(good, other, make_dataset(), tmp_path / "page.html", config)
    assert not (tmp_path / "page.html").exists()


def test_a_changed_data_set_is_said(
    good: Bundle, blind: Bundle, make_dataset: Maker, config: Config, tmp_path: Path
) -> None:
    old = Bundle(good.path, good.manifest.model_copy(update={"lineage": {"dataset_sha256": "ab"}}))
    found = compare_bundles(old, blind, make_dataset(), tmp_path / "page.html", config)
    assert len(found.notes) == 1
    assert found.notes[0].startswith("A was made from another data set (ab)")
    assert found.notes[0] in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_without_test_pictures_it_says_so(good: Bundle, config: Config, tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "empty", good.manifest.classes)
    writer.finish()
    with pytest.raises(DataError, match="no test pictures"):
        compare_bundles(good, good, tmp_path / "empty", tmp_path / "page.html", config)


def test_hostile_names_are_only_shown(
    good: Bundle, make_dataset: Maker, config: Config, tmp_path: Path
) -> None:
    page, name = tmp_path / "page.html", '<script>alert("1")</script>'
    compare_bundles(good, good, make_dataset(), page, config, (name, "B"))
    assert name not in page.read_text(encoding="utf-8")


def test_the_studies_say_where_it_is_weak_and_how_it_differs(
    good: Bundle, blind: Bundle, make_dataset: Maker, config: Config
) -> None:
    data = Dataset.open(make_dataset())
    answers = {bundle: CLASSIFICATION.answer(bundle, data, "test") for bundle in (good, blind)}
    subject = Subject(config, blind, data, answers[blind], Contender(good, answers[good]))
    slices, comparison = study_slices(subject), study_comparison(subject)
    assert slices is not None
    assert comparison is not None
    assert slices.verdict.startswith("Weak on ")
    weak = [row["name"] for row in slices.content["slices"] if row["weak"]]
    assert weak[0] == "darkest quarter"
    assert "brightest quarter" not in weak
    assert (slices.good, comparison.good) == (False, False)
    assert comparison.verdict.startswith("This version is worse than the champion by 16.7 points")
    for section in (slices, comparison):
        json.dumps(section.content, allow_nan=False)
        assert "data:image/png" in section.body

    same = replace(subject, bundle=good, answers=answers[good])
    clean, nothing = study_slices(same), study_comparison(same)
    assert clean is not None
    assert nothing is not None
    assert (clean.good, clean.content["weak"]) == (True, 0)
    assert nothing.good is None
    assert study_comparison(replace(same, champion=None)) is None


def test_an_evaluation_has_both_beside_what_the_gate_goes_by(
    make_bundle: Maker, make_dataset: Maker, config: Config, tmp_path: Path
) -> None:
    off = {"explanations": {"pictures": 0}, "trust": {"pictures": 0}, "robustness": {"pictures": 0}}
    plain = config.model_dump() | off
    found = evaluate(
        Config.model_validate(plain),
        make_bundle(),
        make_dataset(),
        tmp_path / "out",
        champion=make_bundle(in_the_dark="blue"),
    ).content["pixloop"]
    assert found["champion"]["better"] is True
    assert found["slices"]["weak"] == 0
    assert (found["comparison"]["champion"], found["comparison"]["gained"]) == (True, 20)
    assert found["promotion"]["promote"] is True
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert 'id="champion"' in page
    assert 'id="slices"' in page


def test_slices_can_be_turned_off(good: Bundle, make_dataset: Maker, config: Config) -> None:
    off = config.model_copy(
        update={"slices": config.slices.model_copy(update={"least_pictures": 0})}
    )
    data = Dataset.open(make_dataset())
    answers = CLASSIFICATION.answer(good, data, "test")
    subject = Subject(off, good, data, answers, Contender(good, answers))
    assert study_slices(subject) is None
    comparison = study_comparison(subject)
    assert comparison is not None
    assert comparison.content["slices"] == []
