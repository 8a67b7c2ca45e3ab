"""Write the bicycles and motorcycles of CIFAR-100 as class folders of PNG files.

A record of the binary version is 3,074 bytes: the coarse label, the fine label, then 1,024 red,
1,024 green and 1,024 blue values in row order (https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from pixloop.data.sources import fetch

SOURCE = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
CLASSES = {8: "bicycle", 48: "motorcycle"}  # line numbers of fine_label_names.txt, from 0
RECORD_BYTES = 2 + 3 * 32 * 32


def write_pictures(binary: Path, folder: Path) -> int:
    """Write the pictures of ``CLASSES`` in one binary file as ``folder/<class>/<row>.png``."""
    records = np.fromfile(binary, np.uint8).reshape(-1, RECORD_BYTES)
    rows = np.flatnonzero(np.isin(records[:, 1], list(CLASSES)))
    for row in rows:
        target = folder / CLASSES[int(records[row, 1])] / f"{row:05}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = records[row, 2:].reshape(3, 32, 32).transpose(1, 2, 0)
        Image.fromarray(pixels).save(target)
    return len(rows)


def main() -> None:
    """Fetch the archive once and write ``pictures/train`` and ``pictures/test``."""
    parser = argparse.ArgumentParser(description="Bicycles and motorcycles of CIFAR-100.")
    parser.add_argument("--source", default=SOURCE, help="the binary archive, or its folder")
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "pictures")
    arguments = parser.parse_args()
    archive = fetch(arguments.source, here / ".pixloop" / "sources")
    for split in ("train", "test"):
        binary = next(archive.rglob(f"{split}.bin"))
        count = write_pictures(binary, arguments.out / split)
        print(f"{count} {split} pictures in {arguments.out / split}")


if __name__ == "__main__":
    main()
