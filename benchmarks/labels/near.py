"""How near pictures are to themselves saved again, and to others: what NEAR is set by.

python benchmarks/labels/near.py DATA WEIGHTS [--cache features.npz]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from features import BACKBONE, read_features, see_files
from PIL import Image
from run import KEPT_DIRECTIONS, directions

from pixloop.annotation.selection import NEAR

STEP = 25
CHANGES = {"JPEG 75": (1.0, 75), "JPEG 50": (1.0, 50), "scaled by 0.75": (0.75, 90)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("features.npz"))
    options = parser.parse_args()
    train = read_features(options.data, options.weights, options.cache)["train"]
    files = sorted((options.data / "train").glob("*/*"))
    turn = directions(train - train.mean(axis=0), KEPT_DIRECTIONS)
    places = (train - train.mean(axis=0)) @ turn
    some = places[:: len(places) // 500][:500]
    left, right = np.triu_indices(len(some), 1)
    median = np.median(np.linalg.norm(some[left] - some[right], axis=1))
    chosen = np.arange(0, len(files), STEP)
    apart = np.linalg.norm(places[chosen][:, None] - places[None], axis=2) / median
    apart[np.arange(len(chosen)), chosen] = np.inf
    nearest = np.quantile(apart.min(axis=1), [0.01, 0.5])
    print(f"{BACKBONE}: nearest other picture, 1 % and 50 %: {nearest.round(3)}")
    for name, (scale, quality) in CHANGES.items():
        with tempfile.TemporaryDirectory() as folder:
            saved = [_save(files[i], Path(folder) / f"{i}.jpg", scale, quality) for i in chosen]
            again = (see_files(options.weights, saved) - train.mean(axis=0)) @ turn
        moved = np.linalg.norm(again - places[chosen], axis=1) / median
        share = (moved <= NEAR).mean()
        print(f"{name}: median {np.median(moved):.3f}, {share:.0%} within {NEAR}")


def _save(source: Path, target: Path, scale: float, quality: int) -> Path:
    picture = Image.open(source).convert("RGB")
    size = (round(picture.width * scale), round(picture.height * scale))
    picture.resize(size).save(target, "JPEG", quality=quality)
    return target


if __name__ == "__main__":
    main()
