import pytest
from tests.evaluation.trust.planted import HOSTILE, write_planted
from tests.referenced_bundles import write_referenced_classifier

from pixloop.annotation.label_errors import find_label_errors
from pixloop.annotation.queue import ReviewQueue
from pixloop.annotation.reported import find_reported, read_numbers
from pixloop.config_file import parse_config
from pixloop.errors import AnnotationError
from pixloop.evaluation.predictions import predict_split
from pixloop.evaluation.section import Subject
from pixloop.evaluation.trust.study import study_trust
from pixloop.serving.predictor import open_predictor


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A bundle, a data set with planted errors, and what the report says of it."""
    folder = tmp_path_factory.mktemp("errors")
    bundle = write_referenced_classifier(folder / "colours")
    data = write_planted(folder / "planted")
    config = parse_config({"task": "classification", "data": {"train": "."}}, [], where="a test")
    answers = predict_split(open_predictor(bundle), data.split("test"), data.info.classes, "asking")
    section = study_trust(Subject(config, bundle, data, answers))
    return bundle, data, section.content


def test_doubtful_training_pictures_are_candidates(world):
    bundle, data, _ = world
    found = list(find_label_errors(data, bundle, "colours:1", 3))
    assert 1 <= len(found) <= 3
    assert HOSTILE in {candidate.origin["path"] for candidate in found}
    weights = [candidate.reasons[0].weight for candidate in found]
    assert weights == sorted(weights, reverse=True)
    for candidate in found:
        assert candidate.model == "colours:1"
        assert candidate.reasons[0].kind == "label_error"
        assert candidate.origin["dataset"] == "train"
        assert candidate.answer["label"] != candidate.origin["label"]
        assert len(candidate.embedding) > 0


def test_a_bundle_without_an_embedding_or_of_other_classes_is_refused(world):
    bundle, data, _ = world
    bare = bundle.manifest.model_copy(update={"reference": None})
    with pytest.raises(AnnotationError, match="no embedding to tell doubtful labels by"):
        next(find_label_errors(data, type(bundle)(bundle.path, bare), "colours:1", 3))
    other = bundle.manifest.model_copy(update={"classes": ("cat", "dog", "cow")})
    with pytest.raises(AnnotationError, match="different classes"):
        next(iter(find_label_errors(data, type(bundle)(bundle.path, other), "colours:1", 3)))


def test_what_a_report_lists_goes_into_the_queue_once(world, tmp_path):
    _, data, trust = world
    queue, count = ReviewQueue(tmp_path / "review"), len(world[2]["review"])
    assert queue.offer(find_reported(trust, data, "colours:1")) == count
    assert queue.offer(find_reported(trust, data, "colours:1")) == 0
    items = {item.sha256: item for item in queue.items("waiting")}
    assert set(items) == {entry["sha256"] for entry in trust["review"]}
    for entry in trust["review"]:
        item = items[entry["sha256"]]
        assert [(r.kind, r.detail) for r in item.reasons] == [("label_error", entry["detail"])]
        assert item.origin["path"] == entry["path"]
        assert len(queue.picture(item.sha256)) > 100
    queue.mark(items[trust["review"][0]["sha256"]].sha256, "answered")
    assert queue.offer(find_reported(trust, data, "colours:1")) == 0


def test_some_of_a_report_go_by_their_numbers(world, tmp_path):
    _, data, trust = world
    queue = ReviewQueue(tmp_path / "review")
    assert queue.offer(find_reported(trust, data, "colours:1", {1, 3})) == 2
    wanted = {trust["review"][i]["sha256"] for i in (0, 2)}
    assert {item.sha256 for item in queue.items()} == wanted
    with pytest.raises(AnnotationError, match="lists no picture 999; it has 1 to"):
        queue.offer(find_reported(trust, data, "colours:1", {1, 999}))


def test_a_report_about_another_data_set_is_refused(world):
    _, data, trust = world
    gone = {"review": [{**trust["review"][0], "sha256": "0" * 64}]}
    with pytest.raises(AnnotationError, match="no longer in the data set"):
        next(find_reported(gone, data, "colours:1"))


@pytest.mark.parametrize("text", ["x", "", "3-", "-3", "1..4"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(AnnotationError, match="is no number"):
        read_numbers([text])
