import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.certified_bundles import rewrite, spoil
from tests.small_bundles import THRESHOLD, by_class
from tests.verification.conftest import serve_here

from pixloop.acceptance import Acceptance
from pixloop.bundle import BoxScores, Bundle
from pixloop.certificate import Certificate, read_certificate
from pixloop.comparison import compare, find_differences
from pixloop.project import Project
from pixloop.run_summary import RunSummary


def test_a_real_predictor_answers_as_certified(bundle: Bundle) -> None:
    certificate = read_certificate(bundle.path)
    assert find_differences(serve_here(bundle), certificate, "test:1") == []


def test_a_trained_model_answers_as_certified(finished: tuple[Project, RunSummary]) -> None:
    _, bundle = finished[0].bundle()
    certificate = read_certificate(bundle.path)
    assert len(certificate.pictures) == 8
    assert find_differences(serve_here(bundle), certificate) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 1.0},
        {"threshold": THRESHOLD.model_copy(update={"score": 0.2})},
        {"threshold": THRESHOLD.model_copy(update={"score": None})},
        {"threshold": by_class(red=0.1, green=0.9, blue=None)},
        {"classes": ("green", "red", "blue")},
        {"classes": ("red", "green", "violet")},
    ],
    ids=str,
)
def test_a_changed_classifier_is_noticed(
    classifier_bundle: Bundle, tmp_path: Path, changes: dict[str, Any]
) -> None:
    certificate = read_certificate(classifier_bundle.path)
    deployed = rewrite(classifier_bundle, tmp_path, **changes)
    assert find_differences(serve_here(deployed), certificate)


@pytest.mark.parametrize(
    "changes",
    [
        {"box_scores": BoxScores(slope=0.9, offset=0.3, minimum=0.6)},
        {"box_scores": BoxScores(slope=0.8, offset=0.3, minimum=0.99)},
        {"threshold": THRESHOLD.model_copy(update={"score": 0.61})},
        {"threshold": by_class(red=0.61, green=0.61, blue=0.61)},
        {"classes": ("green", "red", "blue")},
    ],
    ids=str,
)
def test_a_changed_detector_is_noticed(
    boxes_bundle: Bundle, tmp_path: Path, changes: dict[str, Any]
) -> None:
    certificate = read_certificate(boxes_bundle.path)
    deployed = rewrite(boxes_bundle, tmp_path, **changes)
    assert find_differences(serve_here(deployed), certificate)


def test_a_changed_graph_is_noticed(classifier_bundle: Bundle, tmp_path: Path) -> None:
    certificate = read_certificate(classifier_bundle.path)
    deployed = spoil(rewrite(classifier_bundle, tmp_path))
    assert find_differences(serve_here(deployed), certificate)


def test_another_models_answers_are_noticed(classifier_bundle: Bundle) -> None:
    certificate = read_certificate(classifier_bundle.path)
    differences = find_differences(serve_here(classifier_bundle), certificate, "test:2")
    assert differences == ["the answers are of model 'test:1', not of 'test:2'."]


class TestClassification:
    @pytest.fixture
    def certificate(self, classifier_bundle: Bundle) -> Certificate:
        return read_certificate(classifier_bundle.path)

    def answer(self, bundle: Bundle, certificate: Certificate, number: int) -> dict[str, Any]:
        return copy.deepcopy(serve_here(bundle)(certificate.pictures[number].content))

    def test_a_difference_is_said_in_words(
        self, classifier_bundle: Bundle, certificate: Certificate
    ) -> None:
        answer = self.answer(classifier_bundle, certificate, 3)
        prediction = answer["predictions"][0]
        prediction["probabilities"]["red"] += 0.01
        (difference,) = compare(certificate, certificate.pictures[3], answer)
        assert difference.startswith("picture 4 (test/0003.png): probability of 'red' is 0.")
        assert difference.endswith("at most 0.001 may differ.")
        prediction["probabilities"]["red"] -= 0.0095
        assert compare(certificate, certificate.pictures[3], answer) == []

    def test_not_a_number_is_a_difference(
        self, classifier_bundle: Bundle, certificate: Certificate
    ) -> None:
        answer = self.answer(classifier_bundle, certificate, 0)
        answer["predictions"][0]["probabilities"]["red"] = float("nan")
        assert compare(certificate, certificate.pictures[0], answer)

    def test_label_and_decision_must_be_equal(
        self, classifier_bundle: Bundle, certificate: Certificate
    ) -> None:
        answer = self.answer(classifier_bundle, certificate, 0)
        answer["predictions"][0] |= {"label": "blue", "decision": "refer"}
        differences = compare(certificate, certificate.pictures[0], answer)
        assert "label is 'blue', the certificate has 'red'" in differences[0]
        assert "decision is 'refer', the certificate has 'accept'" in differences[1]

    def test_a_decision_on_the_edge_may_differ(
        self, classifier_bundle: Bundle, certificate: Certificate
    ) -> None:
        answer = self.answer(classifier_bundle, certificate, 0)
        score = answer["predictions"][0]["score"]
        answer["predictions"][0]["decision"] = "refer"
        edge = Certificate(**{**vars(certificate), "acceptance": Acceptance(score - 0.0005)})
        assert compare(edge, certificate.pictures[0], answer) == []

    def test_of_two_classes_as_likely_either_is_right(self, certificate: Certificate) -> None:
        shares = {"red": 0.4004, "green": 0.4, "blue": 0.1996}
        picture = replace(certificate.pictures[0], probabilities=shares)
        answered = {"red": 0.4, "green": 0.4004, "blue": 0.1996}
        prediction = {"probabilities": answered, "label": "green", "decision": "refer"}
        unsure = replace(certificate, acceptance=Acceptance(0.9))
        assert compare(unsure, picture, {"predictions": [prediction]}) == []
        # The class that was answered decides which threshold counts.
        own = replace(certificate, acceptance=Acceptance(None, {"red": 0.9, "green": 0.2}))
        assert compare(own, picture, {"predictions": [prediction]})
        accepted = {**prediction, "decision": "accept"}
        assert compare(own, picture, {"predictions": [accepted]}) == []

    @pytest.mark.parametrize(
        "answer", [{}, {"predictions": []}, {"predictions": [{}]}, {"predictions": [None]}]
    )
    def test_a_foreign_answer_is_a_difference(
        self, certificate: Certificate, answer: dict[str, Any]
    ) -> None:
        assert compare(certificate, certificate.pictures[0], answer)


class TestDetection:
    @pytest.fixture
    def certificate(self, boxes_bundle: Bundle) -> Certificate:
        return read_certificate(boxes_bundle.path)

    @pytest.fixture
    def answer(self, boxes_bundle: Bundle, certificate: Certificate) -> dict[str, Any]:
        return serve_here(boxes_bundle)(certificate.pictures[0].content)

    def test_a_missing_and_an_added_box_are_said(
        self, certificate: Certificate, answer: dict[str, Any]
    ) -> None:
        boxes = answer["predictions"][0]["boxes"]
        assert len(boxes) == 2
        moved = boxes.pop()
        moved["xyxy"][0] += 4
        boxes.append(moved)
        missing, added = compare(certificate, certificate.pictures[0], answer)
        assert "the answer has no such box" in missing
        assert "the certificate has no such box" in added
        assert f"{moved['label']!r} at [" in added

    def test_a_box_without_four_edges_is_a_difference(
        self, certificate: Certificate, answer: dict[str, Any]
    ) -> None:
        del answer["predictions"][0]["boxes"][0]["xyxy"][2:]
        (difference,) = compare(certificate, certificate.pictures[0], answer)
        assert "the answer is not a pixloop server's" in difference

    def test_a_box_twice_is_one_too_many(
        self, certificate: Certificate, answer: dict[str, Any]
    ) -> None:
        boxes = answer["predictions"][0]["boxes"]
        boxes.append(copy.deepcopy(boxes[0]))
        (difference,) = compare(certificate, certificate.pictures[0], answer)
        assert "the certificate has no such box" in difference

    def test_the_decision_about_a_box_on_the_edge_may_differ(
        self, certificate: Certificate, answer: dict[str, Any]
    ) -> None:
        box = (certificate.pictures[0].boxes or ())[0]
        for each in answer["predictions"][0]["boxes"]:
            each["decision"] = "refer"
        edge = replace(certificate, acceptance=Acceptance(box.score))
        assert compare(edge, certificate.pictures[0], answer) == []
        (difference,) = compare(
            replace(certificate, acceptance=Acceptance(box.least - 0.001)),
            certificate.pictures[0],
            answer,
        )
        assert "decision is 'refer', the certificate has 'accept'" in difference

    def test_rounding_decides_whether_a_box_at_the_minimum_is_answered(
        self, certificate: Certificate, answer: dict[str, Any]
    ) -> None:
        boxes = answer["predictions"][0]["boxes"]
        faint = boxes.pop()
        assert compare(certificate, certificate.pictures[0], answer)
        at = Certificate(**{**vars(certificate), "minimum": faint["score"]})
        assert compare(at, certificate.pictures[0], answer) == []

    def test_a_small_boxs_rounding_is_no_difference(self, certificate: Certificate) -> None:
        from pixloop.certificate import CertifiedBox
        from pixloop.comparison import _is_same

        box = CertifiedBox("red", (1.0, 1.0, 1.5, 1.5), 0.9, 0.899, 0.901)
        answer = {"label": "red", "score": 0.9, "xyxy": [1.005, 1.005, 1.5, 1.5]}
        assert _is_same(box, answer, 0.99)
        assert not _is_same(box, answer | {"xyxy": [1.05, 1.0, 1.5, 1.5]}, 0.99)
