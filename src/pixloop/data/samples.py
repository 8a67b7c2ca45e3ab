"""Pictures that come with a dependency, so that the demo needs no network."""

from pathlib import Path

import numpy as np
from PIL import Image

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEST_SHARE = 0.2


def write_digits(folder: Path) -> None:
    """Write scikit-learn's 1,797 handwritten digits as ``train`` and ``test`` class folders.

    8×8 grayscale PNGs (Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI).
    A fifth of each class is for the test, always the same.
    """
    # scikit-learn takes seconds to import, and every command knows this file.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    numbers = np.arange(len(pixels))
    _, test = train_test_split(
        numbers, test_size=_TEST_SHARE, stratify=digits.target, random_state=0
    )
    held_out = frozenset(test.tolist())
    for number in numbers.tolist():
        split = "test" if number in held_out else "train"
        target = folder / split / DIGITS[digits.target[number]] / f"{number:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number]).save(target)
