import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pixloop.errors import ImageError
from pixloop.monitoring.signals import PICTURE_SIGNALS, answer_signals, measure_answer, score_of
from pixloop.monitoring.statistics import measure_picture
from pixloop.records import DetectedBox, Detection, Prediction


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def measured(image: Image.Image, kind: str = "PNG") -> dict[str, float]:
    values = measure_picture(encode(image, kind)).tolist()
    return dict(zip((signal.name for signal in PICTURE_SIGNALS), values, strict=True))


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    rng = np.random.default_rng(0)
    rough = rng.integers(30, 220, (12, 16, 3), np.uint8)
    fine = np.asarray(
        Image.fromarray(rough).resize((160, 120), Image.Resampling.BICUBIC), np.float64
    )
    return Image.fromarray((fine + rng.normal(0, 6, fine.shape)).clip(0, 255).astype(np.uint8))


def test_each_statistic_moves_with_what_it_is_named_for(scene: Image.Image) -> None:
    usual = measured(scene)
    assert (usual["megapixels"], usual["aspect"]) == pytest.approx((0.0192, 4 / 3))
    assert measured(scene.point(lambda v: v // 2))["brightness"] < 0.6 * usual["brightness"]
    assert measured(scene.point(lambda v: 64 + v // 2))["contrast"] < 0.6 * usual["contrast"]
    grey = measured(scene.convert("L"))
    assert (grey["saturation"], grey["red_green"], grey["blue_yellow"]) == (0, 0, 0)
    assert measured(scene.filter(ImageFilter.GaussianBlur(1)))["sharpness"] < usual["sharpness"]
    pixels = np.asarray(scene, np.float64)
    noisy = pixels + np.random.default_rng(1).normal(0, 12, pixels.shape)
    louder = measured(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    assert louder["noise"] > usual["noise"] + 0.3
    assert measured(scene, "JPEG")["bytes_per_pixel"] < usual["bytes_per_pixel"]


def test_pictures_of_any_size_and_mode_are_measured(scene: Image.Image) -> None:
    for size in ((1, 1), (2, 500), (3, 3), (1000, 20)):
        values = measured(scene.resize(size))
        assert np.isnan(values["noise"]) == (min(size) < 3)
        assert np.isfinite(values["brightness"])
    large = measured(scene.resize((2400, 1800)), "JPEG")  # decoded smaller than it is
    assert large["megapixels"] == pytest.approx(4.32)
    assert large["brightness"] == pytest.approx(measured(scene)["brightness"], abs=0.01)
    with pytest.raises(ImageError):
        measure_picture(b"no picture")


# ---- Answers


def test_of_many_classes_the_most_frequent_are_watched() -> None:
    names = [f"c{i:02}" for i in range(20)]
    shares = dict.fromkeys(names, 0.05)
    answers = [Prediction(name, 0.5, shares) for i, name in enumerate(names) for _ in range(i)]
    watched = {s.name for s in answer_signals("classification", answers) if s.group == "classes"}
    assert watched == {f"class:{name}" for name in names[8:]}


def test_of_two_classes_one_is_watched() -> None:
    answers = [
        Prediction("a", 0.7, {"a": 0.7, "b": 0.3}),
        Prediction("b", 0.6, {"a": 0.4, "b": 0.6}),
    ]
    signals = answer_signals("classification", answers)
    assert [s.name for s in signals] == ["confidence", "probability:a", "class:a"]
    assert measure_answer(answers[1], signals) == [0.6, 0.4, 0.0]


def test_an_answer_is_measured_alike_before_and_after_its_numbers_are_rounded() -> None:
    exact = DetectedBox("a", 0.123456789, (0.123456, 1.0, 7.654321, 9.0))
    rounded = DetectedBox("a", 0.123457, (0.12, 1.0, 7.65, 9.0))
    answers = [Detection((box,), 20, 10) for box in (exact, rounded)]
    signals = answer_signals("detection", answers)
    first, second = (measure_answer(each, signals) for each in answers)
    assert first == second
    assert score_of(answers[0]) == score_of(answers[1])
    assert np.isnan(score_of(Detection((), 4, 4)))
