import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pixloop.data.augment import AUGMENTATIONS, Augmenter
from pixloop.errors import ConfigError
from pixloop.imaging import Preprocessing, read_input

SMALL = Preprocessing(image_size=48)


def encode(rgb, format_="PNG"):
    encoded = io.BytesIO()
    Image.fromarray(rgb).save(encoded, format_)
    return encoded.getvalue()


@pytest.fixture
def picture():
    """A smooth picture whose left and right, top and bottom differ."""
    y, x = np.mgrid[0:60, 0:80]
    return encode(np.stack([x * 3, y * 4, (x + y) * 1.5], axis=-1).astype(np.uint8))


def plain_of(picture, preprocessing=SMALL):
    return read_input(picture, preprocessing)[0]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_changes_some_pictures_and_keeps_shape_and_type(name, picture):
    augment = Augmenter([name], SMALL)
    plain = plain_of(picture)
    results = [augment(picture, seed) for seed in range(30)]
    assert {(r.shape, r.dtype) for r in results} == {((48, 48, 3), np.dtype(np.uint8))}
    assert any(not np.array_equal(r, plain) for r in results)
    # Augmented pictures still show something: none turns all black or white.
    assert all(r.std() > 15 for r in results)


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "area"])
def test_nothing_augmented_is_what_serving_sees(resize, interpolation):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    large = encode(noise, "JPEG")
    preprocessing = Preprocessing(
        image_size=32, resize=resize, interpolation=interpolation, scaled_decoding=True
    )
    assert np.array_equal(Augmenter([], preprocessing)(large, 1), plain_of(large, preprocessing))


def test_flip_mirrors_left_and_right(picture):
    augment, plain = Augmenter(["flip"], SMALL), plain_of(picture)
    results = [augment(picture, seed) for seed in range(20)]
    mirrored = [np.array_equal(r, plain[:, ::-1]) for r in results]
    same = [np.array_equal(r, plain) for r in results]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)


def test_crop_takes_parts_of_the_whole_picture(picture):
    # Red rises from left to right: the parts' edges reach almost to both ends.
    parts = [Augmenter(["crop"], SMALL)(picture, seed) for seed in range(60)]
    assert min(part[:, 0, 0].mean() for part in parts) < 12
    assert max(part[:, -1, 0].mean() for part in parts) > 225


def test_the_seed_alone_decides(picture):
    names = list(AUGMENTATIONS)
    first, second = Augmenter(names, SMALL), Augmenter(names, SMALL)
    expected = [first(picture, seed) for seed in range(12)]
    backwards = [second(picture, seed) for seed in reversed(range(12))][::-1]
    np.testing.assert_array_equal(expected, backwards)
    assert len({result.tobytes() for result in expected}) == 12


_ELSEWHERE = """
import hashlib, io, numpy as np
from PIL import Image
from pixloop.data.augment import AUGMENTATIONS, Augmenter
from pixloop.imaging import Preprocessing
augment = Augmenter(list(AUGMENTATIONS), Preprocessing(image_size=48))
picture, encoded = np.arange(60 * 80 * 3).reshape(60, 80, 3).astype(np.uint8), io.BytesIO()
Image.fromarray(picture).save(encoded, "PNG")
results = b"".join(augment(encoded.getvalue(), seed).tobytes() for seed in (0, 7, 2**32 - 1))
print(hashlib.sha256(results).hexdigest())
"""


def test_another_process_augments_alike(capsys):
    command = [sys.executable, "-c", _ELSEWHERE]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exec(_ELSEWHERE, {})  # noqa: S102  (our own text)
    assert capsys.readouterr().out == there


def test_tiny_pictures_can_be_augmented():
    speck = encode(np.full((1, 3, 3), 200, np.uint8))
    assert Augmenter(list(AUGMENTATIONS), SMALL)(speck, 3).shape == (48, 48, 3)


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'rotat'.*'rotate'"):
        Augmenter(["rotat"], SMALL)
    with pytest.raises(ConfigError, match="Known: flip, "):
        Augmenter(["xyzzy"], SMALL)
