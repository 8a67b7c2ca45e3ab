"""Write labels.csv for the hand-drawn shapes: path, label and split, with people kept whole.

The repository holds ``data/user.<person>/images/<shape>/<file>.png``.
"""

import argparse
import csv
import hashlib
from pathlib import Path

from pixloop.data.sources import fetch
from pixloop.files import atomic_path

SOURCE = (
    "https://github.com/frobertpixto/hand-drawn-shapes-dataset/archive/"
    "a01f80248c156c56a83b2678453e410bdcc6a342.zip"
)


def choose_split(person: str) -> str:
    """The side of a person: a third of them, chosen by a hash of the name, is the test."""
    return "test" if hashlib.sha256(person.encode()).digest()[0] % 3 == 0 else "train"


def main() -> None:
    """Fetch the repository once and write ``labels.csv``."""
    parser = argparse.ArgumentParser(description="Labels of the hand-drawn shapes.")
    parser.add_argument("--source", default=SOURCE, help="the repository's archive, or its folder")
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "labels.csv")
    arguments = parser.parse_args()
    repository = fetch(arguments.source, here / ".pixloop" / "sources")
    pictures = sorted(repository.rglob("user.*/images/*/*.png"))
    with atomic_path(arguments.out) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for picture in pictures:
            person = picture.parents[2].name
            writer.writerow([picture.resolve(), picture.parent.name, choose_split(person)])
    print(f"{len(pictures)} pictures in {arguments.out}")


if __name__ == "__main__":
    main()
