import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pixloop.decoding import decode_image, load_upright, open_image
from pixloop.imaging import (
    Preprocessing,
    fit_boxes,
    normalise,
    read_input,
    resize_image,
    to_input,
    unfit_boxes,
)

RESIZES = st.sampled_from(["crop", "squash", "letterbox"])
INTERPOLATIONS = st.sampled_from(["bilinear", "bicubic", "area"])


def picture(width: int, height: int) -> Image.Image:
    """Smooth, as photos mostly are, and nowhere the same."""
    blobs = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, format_: str, orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = io.BytesIO()
    image.save(encoded, format_, exif=exif, **options)
    return encoded.getvalue()


@given(
    width=st.integers(1, 120),
    height=st.integers(1, 120),
    size=st.integers(1, 64),
    resize=RESIZES,
    interpolation=INTERPOLATIONS,
    format_=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]),
    mode=st.sampled_from(["RGB", "L"]),
    orientation=st.integers(1, 8),
)
def test_an_input_is_the_decoded_picture_resized(
    width: int, height: int, size: int, resize: Any, interpolation: Any, format_: str, mode: str,
    orientation: int,
) -> None:  # fmt: skip
    data = encode(picture(width, height).convert(mode), format_, orientation)
    preprocessing = Preprocessing(image_size=size, resize=resize, interpolation=interpolation)
    upright = decode_image(data)
    pixels, found = read_input(data, preprocessing)
    assert found == (upright.shape[1], upright.shape[0])
    assert (pixels.dtype, pixels.shape) == (np.uint8, (size, size, 3))
    np.testing.assert_array_equal(pixels, resize_image(upright, preprocessing))


@given(resize=RESIZES, interpolation=INTERPOLATIONS, width=st.integers(10, 90))
def test_an_input_goes_where_it_is_told(resize: Any, interpolation: Any, width: int) -> None:
    data = encode(picture(width, 60), "JPEG")
    preprocessing = Preprocessing(image_size=24, resize=resize, interpolation=interpolation)
    batch = np.full((3, 24, 24, 3), 7, np.uint8)
    pixels, _ = read_input(data, preprocessing, batch[1])
    assert np.shares_memory(pixels, batch)
    np.testing.assert_array_equal(batch[1], read_input(data, preprocessing)[0])
    assert (batch[[0, 2]] == 7).all()


@given(
    width=st.integers(150, 700),
    height=st.integers(150, 700),
    size=st.integers(32, 64),
    resize=RESIZES,
    interpolation=INTERPOLATIONS,
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    progressive=st.booleans(),
    orientation=st.integers(1, 8),
)
@settings(max_examples=50)
def test_scaled_decoding_hardly_changes_the_input(
    width: int, height: int, size: int, resize: Any, interpolation: Any, mode: str,
    progressive: bool, orientation: int,
) -> None:  # fmt: skip
    image = picture(width, height).convert(mode)
    data = encode(image, "JPEG", orientation, progressive=progressive, quality=90)
    full = Preprocessing(image_size=size, resize=resize, interpolation=interpolation)
    scaled = full.model_copy(update={"scaled_decoding": True})
    expected, size_of_full = read_input(data, full)
    found, size_of_scaled = read_input(data, scaled)
    assert size_of_scaled == size_of_full
    difference = np.abs(found.astype(int) - expected)
    assert difference.mean() < 4
    assert difference.max() < 30


@pytest.mark.parametrize("resize", ["crop", "squash", "letterbox"])
@pytest.mark.parametrize(
    ("size", "shrink"), [(129, 1), (128, 2), (65, 2), (64, 4), (33, 4), (32, 8), (5, 8)]
)
def test_a_jpeg_keeps_two_pixels_along_each_side_for_one_of_the_input(
    resize: Any, size: int, shrink: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    preprocessing = Preprocessing(
        image_size=size, resize=resize, crop_share=1.0, interpolation="area", scaled_decoding=True
    )
    data = encode(Image.fromarray(noise), "JPEG")
    decoded = np.asarray(load_upright(open_image(data), shrink))
    expected = resize_image(decoded, preprocessing)
    np.testing.assert_array_equal(read_input(data, preprocessing)[0], expected)

    png = encode(Image.fromarray(noise), "PNG")
    expected = resize_image(noise, preprocessing)
    np.testing.assert_array_equal(read_input(png, preprocessing)[0], expected)


@given(
    width=st.integers(300, 900),
    height=st.integers(300, 900),
    resize=st.sampled_from(["squash", "letterbox"]),
    interpolation=INTERPOLATIONS,
    orientation=st.integers(1, 8),
)
def test_a_box_is_where_its_pixels_are_in_a_picture_decoded_smaller(
    width: int, height: int, resize: Any, interpolation: Any, orientation: int
) -> None:
    # Right and lower edges show most what rounding sizes moves.
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[height // 2 : height - height // 8, width // 2 : width - width // 8] = 255
    data = encode(Image.fromarray(rgb), "JPEG", orientation, quality=95)
    ys, xs = np.nonzero(decode_image(data)[:, :, 0] > 127)
    box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]])
    preprocessing = Preprocessing(
        image_size=64, resize=resize, interpolation=interpolation, scaled_decoding=True,
        mean=(0, 0, 0),
    )  # fmt: skip
    pixels, size = read_input(data, preprocessing)
    seen = _edges(pixels[:, :, 0] / 255)
    np.testing.assert_allclose(fit_boxes(box, *size, preprocessing)[0], seen, atol=0.3)


def _edges(share: NDArray[np.float64]) -> list[float]:
    """The edges of a white box on black, to fractions of a pixel: its mass along each side."""
    edges = []
    for line in (share.max(axis=0), share.max(axis=1)):
        middle = int(np.flatnonzero(line > 0.9).mean())
        edges.append((middle - line[:middle].sum(), middle + line[middle:].sum()))
    (left, right), (top, bottom) = edges
    return [left, top, right, bottom]


def test_a_bundle_from_before_there_was_a_choice_keeps_its_meaning() -> None:
    then = """{"image_size": 224, "resize": "crop", "crop_share": 0.875, "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}"""
    now = Preprocessing(image_size=224, interpolation="bicubic", scaled_decoding=False)
    assert Preprocessing.model_validate_json(then) == now


@given(resize=RESIZES, interpolation=INTERPOLATIONS, scaled=st.booleans())
def test_a_part_is_taken_for_the_whole(resize: Any, interpolation: Any, scaled: bool) -> None:
    rgb = np.zeros((300, 400, 3), np.uint8)
    rgb[100:200, 50:250] = 250
    preprocessing = Preprocessing(
        image_size=32, resize=resize, interpolation=interpolation, scaled_decoding=scaled
    )
    data = encode(Image.fromarray(rgb), "JPEG", quality=95)
    pixels, size = read_input(data, preprocessing, part=lambda whole: (50, 100, 250, 200))
    assert size == (400, 300)
    light = pixels[:16] if resize == "letterbox" else pixels
    assert light[1:-1, 1:-1].min() > 235


def test_squash_scales_both_sides_and_crop_cuts_the_centre() -> None:
    rgb = np.zeros((40, 80, 3), np.uint8)
    rgb[:, 20:60] = 255
    squashed = resize_image(rgb, Preprocessing(image_size=8, resize="squash"))
    assert squashed[4, 0].max() < 30
    assert squashed[4, 7].max() < 30
    cropped = resize_image(rgb, Preprocessing(image_size=8, resize="crop", crop_share=1.0))
    assert cropped.shape == (8, 8, 3)
    assert cropped[:, 1:-1].min() > 200


@given(height=st.integers(1, 60), width=st.integers(1, 60), size=st.integers(1, 48))
def test_any_size_becomes_the_input_size(height: int, width: int, size: int) -> None:
    rgb = np.full((height, width, 3), 77, np.uint8)
    for resize in ("crop", "squash"):
        model_input = to_input(rgb, Preprocessing(image_size=size, resize=resize))  # type: ignore[arg-type]
        assert (model_input.shape, model_input.dtype) == ((3, size, size), np.float32)


def test_normalise_is_what_its_formula_says() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    preprocessing = Preprocessing(image_size=5)
    expected = (rgb / 255.0 - preprocessing.mean) / preprocessing.std
    actual = normalise(rgb, preprocessing)
    assert actual.flags.c_contiguous
    np.testing.assert_allclose(actual, expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)


def test_a_crop_keeps_the_centre_and_a_squash_keeps_everything() -> None:
    framed = np.full((80, 120, 3), 255, np.uint8)
    framed[20:60, 40:80] = 0  # a black square of half the short side, in the very middle

    cropped = resize_image(framed, Preprocessing(image_size=40, crop_share=0.5))
    squashed = resize_image(framed, Preprocessing(image_size=40, resize="squash"))

    assert cropped.max() == 0
    assert squashed[0, 0].min() == 255
    assert squashed[20, 20].max() == 0


WHOLE = st.sampled_from(["squash", "letterbox"])


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    size=st.integers(1, 1024),
    resize=WHOLE,
    shares=st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5),
)
def test_unfit_undoes_fit(
    width: int, height: int, size: int, resize: Any, shares: list[tuple[float, ...]]
) -> None:
    preprocessing = Preprocessing(image_size=size, resize=resize)
    boxes = np.array(shares).reshape(-1, 4) * [width, height, width, height]
    fitted = fit_boxes(boxes, width, height, preprocessing)
    assert fitted.shape == boxes.shape
    assert ((fitted >= 0) & (fitted <= size + 1e-9)).all()
    np.testing.assert_allclose(
        unfit_boxes(fitted, width, height, preprocessing), boxes, rtol=0, atol=1e-9 * 3000
    )


def test_unfit_clips_to_the_picture() -> None:
    preprocessing = Preprocessing(image_size=100, resize="letterbox")
    box = np.array([[-5.0, -5.0, 120.0, 90.0]], np.float32)
    assert unfit_boxes(box, 200, 100, preprocessing).tolist() == [[0.0, 0.0, 200.0, 100.0]]


@given(height=st.integers(20, 200), width=st.integers(20, 200), resize=WHOLE)
def test_a_fitted_box_is_where_its_pixels_are(height: int, width: int, resize: Any) -> None:
    box = np.array([[width // 4, height // 3, width * 3 // 4, height * 2 // 3]])
    rgb = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box[0]
    rgb[top:bottom, left:right] = 255
    preprocessing = Preprocessing(image_size=96, resize=resize, mean=(0.0, 0.0, 0.0))
    ys, xs = np.nonzero(resize_image(rgb, preprocessing)[:, :, 0] > 127)
    seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    np.testing.assert_allclose(fit_boxes(box, width, height, preprocessing)[0], seen, atol=1.01)


def test_boxes_cannot_be_fitted_to_a_crop() -> None:
    with pytest.raises(ValueError, match="whole picture"):
        fit_boxes(np.zeros((1, 4)), 10, 10, Preprocessing(image_size=8, resize="crop"))


def test_a_letterbox_is_filled_with_the_mean_colour() -> None:
    preprocessing = Preprocessing(image_size=8, resize="letterbox", mean=(1.0, 0.5, 0.0))
    boxed = resize_image(np.zeros((4, 8, 3), np.uint8), preprocessing)
    assert (boxed[:4] == 0).all()
    assert (boxed[4:] == [255, 128, 0]).all()
