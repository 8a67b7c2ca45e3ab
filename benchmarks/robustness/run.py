"""Our corruptions beside those of the package imagecorruptions, pixel by pixel.

    python benchmarks/robustness/run.py [--reference-python PYTHON]

PYTHON has the packages of requirements-imagecorruptions.txt; without it such an environment is made
with uv, from a Python 3.9. Pictures: eight parts of 224 pixels of scikit-learn's two photographs,
at which size our corruptions take the published lengths as they are. Writes results.json and
RESULTS.md beside this file. Takes three minutes of one core.
"""

import argparse
import json
import platform
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from report import write_report
from sklearn.datasets import load_sample_images

from pixloop.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from pixloop.files import write_text
from pixloop.serving.engines import cpu_name

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements-imagecorruptions.txt"
SIDE, SEEDS = 224, 8
#: They draw nothing, so that both sides must give the same pixels.
FIXED = ("brightness", "contrast", "defocus_blur", "jpeg_compression", "pixelate", "zoom_blur")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference-python", type=Path)
    arguments = parser.parse_args()
    pictures = make_pictures()
    with tempfile.TemporaryDirectory() as folder:
        python = arguments.reference_python or make_environment(Path(folder) / "environment")
        theirs = ask_reference(python, pictures, Path(folder))
    rows = [
        compare(name, severity, pictures, theirs[name][severity - 1])
        for name in CORRUPTIONS
        for severity in SEVERITIES
    ]
    results = {
        "machine": cpu_name(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("pixloop", "numpy", "opencv-python-headless")},
            "imagecorruptions": "1.1.2",
        },
        "pictures": len(pictures),
        "seeds": SEEDS,
        "rows": rows,
    }
    write_text(HERE / "results.json", json.dumps(results, indent=1) + "\n")
    write_report(results, HERE)


def make_pictures() -> np.ndarray:
    """Four parts of each photograph, half of them shrunk: uint8 (8, 224, 224, 3)."""
    parts = []
    for photo in load_sample_images().images:
        parts += [photo[:SIDE, :SIDE], photo[-SIDE:, -SIDE:]]
        for left in (0, photo.shape[1] - photo.shape[0]):
            square = photo[:, left : left + photo.shape[0]]
            parts.append(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.ascontiguousarray(parts, np.uint8)


def make_environment(folder: Path) -> Path:
    """An environment with the reference; its interpreter."""
    python = folder / "bin" / "python"
    subprocess.run(["uv", "venv", "--quiet", "--python", "3.9", folder], check=True)
    install = ["uv", "pip", "install", "--quiet", "--python", python, "-r", REQUIREMENTS]
    subprocess.run(install, check=True)
    return python


def ask_reference(python: Path, pictures: np.ndarray, work: Path) -> dict[str, np.ndarray]:
    """What the reference makes of the pictures: an array a corruption."""
    np.savez(work / "pictures.npz", pictures=pictures)
    command = [python, HERE / "reference.py", work / "pictures.npz", work / "corrupted.npz"]
    subprocess.run([*command, str(SEEDS)], check=True)
    with np.load(work / "corrupted.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def compare(name: str, severity: int, pictures: np.ndarray, theirs: np.ndarray) -> dict:
    """A corruption at a severity; ``theirs`` is uint8 (seeds, N, H, W, 3)."""
    ours = np.array(
        [
            [corrupt(picture, name, severity, 100 * seed + i) for i, picture in enumerate(pictures)]
            for seed in range(len(theirs))
        ]
    )
    row = {"corruption": name, "severity": severity, "fixed": name in FIXED}
    if name in FIXED:
        difference = np.abs(ours.astype(float) - theirs)
        squared = float((difference**2).mean())
        row["mean_difference"] = float(difference.mean())
        row["largest_difference"] = float(difference.max())
        row["psnr_db"] = float(10 * np.log10(255**2 / squared)) if squared else None
    for side, pixels in (("ours", ours), ("theirs", theirs)):
        row[side] = statistics(pixels.astype(np.float32), pictures.astype(np.float32))
    row["spectrum"] = float(np.abs(np.subtract(*(spectrum(p) for p in (ours, theirs)))).mean())
    return row


def statistics(corrupted: np.ndarray, pictures: np.ndarray) -> dict:
    """Over seeds, pictures and pixels, in levels: mean, contrast, and distance from the picture."""
    change = corrupted - pictures
    return {
        "mean": float(corrupted.mean()),
        "contrast": float(corrupted.std(axis=(2, 3, 4)).mean()),
        "change": float(np.sqrt((change**2).mean(axis=(2, 3, 4))).mean()),
    }


def spectrum(corrupted: np.ndarray, bands: int = 12) -> np.ndarray:
    """The logarithm (to 10) of the power in rings of frequency, the mean of all pictures."""
    grey = corrupted.mean(axis=-1).reshape(-1, SIDE, SIDE)
    window = np.hanning(SIDE)[:, None] * np.hanning(SIDE)
    power = np.mean([np.abs(np.fft.fft2((g - g.mean()) * window)) ** 2 for g in grey], axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    ring = np.minimum((frequency / 0.5 * bands).astype(int), bands - 1)
    return np.log10([power[ring == band].mean() for band in range(bands)])


if __name__ == "__main__":
    main()
