"""The pictures that a bundle carries to be verified by."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pixloop.data.dataset import Dataset
from pixloop.decoding import decode_image
from pixloop.export.stored_pictures import scale_down, store_pictures
from pixloop.imaging import to_input
from pixloop.training.models import load_model


def encode(size: tuple[int, int], format_: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format_)
    return buffer.getvalue()


def test_a_small_picture_is_carried_as_it_is() -> None:
    image = encode((200, 100), "PNG")
    assert scale_down(image) is image


@pytest.mark.parametrize(("size", "format_"), [((3000, 2000), "JPEG"), ((500, 900), "PNG")])
def test_a_large_one_is_scaled_down_and_keeps_its_shape(
    size: tuple[int, int], format_: str
) -> None:
    image = encode(size, format_)
    assert len(image) > 200_000
    smaller = scale_down(image)
    assert len(smaller) <= 200_000
    with Image.open(BytesIO(smaller)) as picture:
        assert picture.format == "JPEG"
        assert picture.width / picture.height == pytest.approx(size[0] / size[1], abs=0.01)


def test_the_stored_answer_is_that_to_the_bytes_that_are_carried(
    model_folder: Path, network: nn.Module, write_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    test = Dataset.open(write_dataset([encode((500, 900), "PNG")])).split("test")
    trained = load_model(model_folder)
    [stored] = store_pictures(test, trained, tmp_path)
    assert stored.file is not None
    carried = decode_image((tmp_path / stored.file).read_bytes())
    with torch.inference_mode():
        answers = network(torch.from_numpy(to_input(carried, trained.preprocessing)[None]))
    assert stored.logits == pytest.approx(answers[0].tolist(), abs=1e-4)
