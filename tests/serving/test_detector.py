from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from tests.small_bundles import by_class

from pixloop.bundle import BoxScores, Bundle
from pixloop.errors import BundleError, ImageError, ServingError
from pixloop.records import Decision, Detection
from pixloop.serving.detector import Detector, read_scores
from pixloop.serving.predictor import make_predictor, open_predictor

Make = Callable[..., bytes]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
#: An input pixel is two of the picture's, and scaling blurs edges by one.
NEAR = 4


def answering(detector: Detector, *outputs: object, **manifest: object) -> Detector:
    """A detector whose graph always answers the same."""
    arrays_ = tuple(np.asarray(output) for output in outputs)
    return make_predictor(detector.manifest.model_copy(update=manifest), lambda images: arrays_)


def boxes_of(detection: Detection) -> dict[str, tuple[float, ...]]:
    return {box.label: box.xyxy for box in detection.boxes}


def test_finds_things_in_pixels_of_the_picture(detector: Detector, make_scene: Make) -> None:
    things = {"red": (RED, (20, 10, 60, 50)), "blue": (BLUE, (80, 40, 128, 96))}
    (detection,) = detector.predict([make_scene(*things.values())])
    assert (detection.width, detection.height) == (128, 96)
    found = boxes_of(detection)
    assert found.keys() == things.keys()
    for label, (_, edges) in things.items():
        assert found[label] == pytest.approx(edges, abs=NEAR)


def test_a_tall_picture_is_letterboxed_the_other_way(detector: Detector, make_scene: Make) -> None:
    (detection,) = detector.predict([make_scene((GREEN, (30, 200, 90, 256)), size=(100, 256))])
    assert boxes_of(detection)["green"] == pytest.approx((30, 200, 90, 256), abs=2 * NEAR)


def test_pictures_of_many_sizes_in_one_batch_keep_their_own(
    detector: Detector, make_scene: Make
) -> None:
    sizes = [(40 + 7 * i, 200 - 5 * i) for i in range(20)]
    pictures = [make_scene((RED, (0, 0, w // 2, h // 2)), size=(w, h)) for w, h in sizes]
    for detection, (width, height) in zip(detector.predict(pictures), sizes, strict=True):
        assert (detection.width, detection.height) == (width, height)
        expected = (0, 0, width // 2, height // 2)
        assert boxes_of(detection)["red"] == pytest.approx(expected, abs=NEAR * 2)


def test_boxes_are_decided_on_and_those_below_the_minimum_left_out(
    detector: Detector, make_scene: Make
) -> None:
    picture = make_scene(
        ((140, 0, 0), (0, 0, 40, 40)),  # 0.55, below the minimum of 0.6
        ((0, 204, 0), (50, 0, 90, 40)),  # 0.8, below the threshold of 0.9
        (BLUE, (0, 50, 60, 96)),
    )
    (detection,) = detector.predict([picture])
    decided = [(box.label, round(box.score, 2), box.decision) for box in detection.boxes]
    assert decided == [("blue", 1.0, Decision.ACCEPT), ("green", 0.8, Decision.REFER)]
    (found,) = detector.find([picture])
    np.testing.assert_allclose(found.scores, [1, 0.8, 140 / 255], atol=1e-3)
    np.testing.assert_array_equal(found.labels, [2, 1, 0])
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == ("f8", "f8", "i8")


def test_scores_are_calibrated_before_they_are_judged(detector: Detector, make_scene: Make) -> None:
    manifest = detector.manifest.model_copy(
        update={"box_scores": BoxScores(slope=0.5, offset=0.2, minimum=0.7)}
    )
    calibrated = make_predictor(manifest, detector._engine)
    (detection,) = calibrated.predict([make_scene(((0, 204, 0), (50, 0, 90, 40)))])
    # 1 / (1 + exp(-(0.5 log 4 + 0.2)))
    assert [box.score for box in detection.boxes] == [pytest.approx(2 / (2 + np.exp(-0.2)))]
    (detection,) = calibrated.predict([make_scene(((0, 140, 0), (50, 0, 90, 40)))])
    assert detection.boxes == ()


def test_each_class_of_boxes_has_its_own_threshold(detector: Detector, make_scene: Make) -> None:
    threshold = by_class(red=None, green=0.75, blue=0.9)
    manifest = detector.manifest.model_copy(update={"threshold": threshold})
    scene = make_scene(
        (RED, (0, 0, 40, 40)), ((0, 204, 0), (50, 0, 90, 40)), ((0, 0, 204), (0, 50, 60, 96))
    )
    (detection,) = make_predictor(manifest, detector._engine).predict([scene])
    decided = {box.label: str(box.decision) for box in detection.boxes}
    assert decided == {"red": "refer", "green": "accept", "blue": "refer"}


def test_without_a_promise_everything_is_referred(detector: Detector, make_scene: Make) -> None:
    threshold = detector.manifest.threshold.model_copy(update={"score": None})
    manifest = detector.manifest.model_copy(update={"threshold": threshold, "box_scores": None})
    (detection,) = make_predictor(manifest, detector._engine).predict(
        [make_scene((RED, (0, 0, 50, 50)))]
    )
    assert [box.decision for box in detection.boxes] == [Decision.REFER]


def test_where_nothing_is_nothing_is_found(detector: Detector, make_scene: Make) -> None:
    assert detector.predict([make_scene()]) == [Detection((), 128, 96)]
    (found,) = detector.find([make_scene()])
    assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))
    assert detector.predict([]) == detector.find([]) == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_in_the_upright_picture(
    detector: Detector, make_scene: Make, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = make_scene((RED, (8, 8, 40, 24)), exif=exif)
    with Image.open(BytesIO(stored)) as image:
        upright = np.asarray(image.transpose(TRANSPOSES[orientation]) if orientation > 1 else image)
    rows, columns = np.nonzero(upright[..., 0])
    (detection,) = detector.predict([stored])
    assert (detection.height, detection.width) == upright.shape[:2]
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert boxes_of(detection)["red"] == pytest.approx(expected, abs=NEAR)


#: How a stored picture becomes upright, by its EXIF orientation.
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("size", [(1, 1), (20_000, 10), (3, 4_000), (1, 64)])
def test_pictures_of_any_shape(detector: Detector, make_scene: Make, size: tuple[int, int]) -> None:
    (detection,) = detector.predict([make_scene((RED, (0, 0, *size)), size=size)])
    assert boxes_of(detection) == {"red": pytest.approx((0, 0, *size))}


def test_gray_and_transparent_pictures(detector: Detector) -> None:
    # White is bright in every channel, and is what transparency is laid over.
    for image in (
        Image.new("L", (64, 32), 255),
        Image.new("1", (64, 32), 1),
        Image.new("I;16", (64, 32), 65_535),
        Image.new("RGBA", (64, 32), (0, 0, 0, 0)),
    ):
        buffer = BytesIO()
        image.save(buffer, "PNG")
        (detection,) = detector.predict([buffer.getvalue()])
        found = boxes_of(detection)
        assert found == dict.fromkeys(("red", "green", "blue"), (0, 0, 64, 32))


def test_a_bad_picture_is_named_or_skipped(detector: Detector, make_scene: Make) -> None:
    pictures = [make_scene((RED, (0, 0, 50, 50))), b"nonsense"] * 12
    with pytest.raises(ImageError, match=r"^picture 1: not a picture"):
        detector.find(pictures)
    answers = list(detector.predict_each(iter(pictures)))
    assert [type(answer) for answer in answers] == [Detection, ImageError] * 12


def test_either_graph_finds_the_same(detector_bundle: Bundle, make_scene: Make) -> None:
    picture = make_scene((RED, (20, 10, 60, 50)), (GREEN, (70, 20, 100, 90)))
    first, second = (
        open_predictor(detector_bundle, graph).find([picture])[0] for graph in ("onnx", "openvino")
    )
    np.testing.assert_allclose(first.boxes, second.boxes)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-6)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert second.labels.dtype == np.int64


def test_padding_may_hold_anything(detector: Detector, make_scene: Make) -> None:
    boxes = [[[np.nan] * 4, [0, 0, 32, 24], [np.inf, 0, 1, 1]]]
    padded = answering(detector, boxes, [[0.0, 0.75, 0.0]], [[-1, 1, 99]])
    (detection,) = padded.predict([make_scene()])
    assert boxes_of(detection) == {"green": (0, 0, 64, 48)}


def test_a_graph_may_give_no_boxes_at_all(detector: Detector, make_scene: Make) -> None:
    empty = answering(detector, np.zeros((1, 0, 4)), np.zeros((1, 0)), np.zeros((1, 0), int))
    assert empty.predict([make_scene()]) == [Detection((), 128, 96)]


def test_boxes_are_cut_to_the_picture_and_those_in_the_margin_dropped(
    detector: Detector, make_scene: Make
) -> None:
    boxes = [[[-5, -5, 99, 99], [10, 50, 20, 60], [10, 10, 10, 20], [30, 20, 20, 10]]]
    (found,) = answering(detector, boxes, [[0.9, 0.8, 0.7, 0.6]], [[0, 1, 1, 1]]).find(
        [make_scene()]
    )
    np.testing.assert_array_equal(found.boxes, [[0, 0, 128, 96]])


def test_the_surest_comes_first_whatever_the_graph_does(
    detector: Detector, make_scene: Make
) -> None:
    boxes = [[[i, 0, i + 1, 1] for i in range(4)]]
    (found,) = answering(detector, boxes, [[0.5, 0.9, 0.5, 0.7]], [[0, 1, 2, 0]]).find(
        [make_scene()]
    )
    np.testing.assert_array_equal(found.scores, [0.9, 0.7, 0.5, 0.5])
    np.testing.assert_array_equal(found.labels, [1, 0, 0, 2])
    np.testing.assert_array_equal(found.boxes[:, 0] / 2, [1, 3, 0, 2])


BOX = [[[1, 1, 9, 9]]]


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "what"),
    [
        (BOX * 2, [[0.5]] * 2, [[0]] * 2, "shapes"),
        (BOX, [[0.5, 0.4]], [[0]], "shapes"),
        (BOX, [[0.5]], [[0, 1]], "shapes"),
        (BOX, [0.5], [0], "shapes"),
        ([[[1, 1, 9]]], [[0.5]], [[0]], "shapes"),
        ([[[1, 1, np.nan, 9]]], [[0.5]], [[0]], "not finite"),
        ([[[1, 1, np.inf, 9]]], [[0.5]], [[0]], "not finite"),
        (BOX, [[np.nan]], [[0]], "from 0 to 1"),
        (BOX, [[1.5]], [[0]], "from 0 to 1"),
        (BOX, [[-0.5]], [[0]], "from 0 to 1"),
        (BOX, [[0.5]], [[3]], "number of classes"),
        (BOX, [[0.5]], [[-1]], "number of classes"),
        (BOX, [[0.5]], [[1.0]], "integers"),
    ],
)
def test_wrong_answers_of_a_graph_are_serving_errors(
    detector: Detector, make_scene: Make, boxes: object, scores: object, labels: object, what: str
) -> None:
    with pytest.raises(ServingError, match=f"things.*{what}"):
        answering(detector, boxes, scores, labels).find([make_scene()])


def test_squashed_pictures(detector: Detector, make_scene: Make) -> None:
    squash = detector.manifest.preprocessing.model_copy(update={"resize": "squash"})
    manifest = detector.manifest.model_copy(update={"preprocessing": squash})
    picture = make_scene((RED, (20, 10, 60, 50)), size=(256, 64))
    (detection,) = make_predictor(manifest, detector._engine).predict([picture])
    assert boxes_of(detection)["red"] == pytest.approx((20, 10, 60, 50), abs=8)


def test_a_detector_does_not_crop(detector: Detector) -> None:
    crop = detector.manifest.preprocessing.model_copy(update={"resize": "crop"})
    with pytest.raises(BundleError, match="'letterbox' or 'squash'"):
        answering(detector, preprocessing=crop)


RAW = arrays(np.float32, st.integers(0, 20), elements=st.floats(0, 1, width=32))


@given(raw=RAW, slope=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_read_scores_gives_scores_in_the_order_of_the_raw_ones(
    raw: np.ndarray, slope: float, offset: float
) -> None:
    scores = read_scores(raw, BoxScores(slope=slope, offset=offset))
    assert scores.shape == raw.shape
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores[np.argsort(raw, kind="stable")]) >= 0).all()


@given(raw=RAW)
def test_read_scores_leaves_them_alone_without_a_fit(raw: np.ndarray) -> None:
    np.testing.assert_allclose(read_scores(raw, BoxScores()), raw, atol=1e-7)


def test_read_scores_is_platts_formula_on_the_logit() -> None:
    raw = np.array([0.1, 0.5, 0.9])
    expected = 1 / (1 + np.exp(-(1.7 * np.log(raw / (1 - raw)) - 0.4)))
    np.testing.assert_allclose(read_scores(raw, BoxScores(slope=1.7, offset=-0.4)), expected)
