"""RESULTS.md from results.json.

python benchmarks/robustness/report.py
"""

import json
from pathlib import Path

HERE = Path(__file__).parent

#: What both sides may differ by. Fixed ones: their pixels. Others: their statistics over seeds.
LEAST_PSNR_DB = 40.0
MOST_LEVELS, MOST_CHANGE, MOST_SPECTRUM = 2.0, 0.05, 0.1
#: Why a corruption differs by more.
WHY = {
    "defocus_blur": "Pixels agree. The kernel's edge is soft here, where the reference softens a "
    "disk of whole pixels; what both leave of the highest frequencies is next to nothing.",
    "glass_blur": "The reference swaps neighbours in place, row by row, so that pixels wander on "
    "in the order of the loop; here each round moves all of them at once, by as much. The loop "
    "takes 0.7 s a picture.",
    "motion_blur": "The reference shifts by whole pixels; here a shift lies between pixels, which "
    "leaves less of the highest frequencies.",
    "zoom_blur": "The reference cuts whole pixels before it enlarges, so that its centre jumps by "
    "up to a pixel from one zoom to the next; here the centre stays.",
    "snow": "At severity 2, the reference's flakes are enlarged by cutting whole pixels, and "
    "scaled from edge to edge, which makes them a little larger and stronger.",
    "frost": "The reference pastes one of five photographs; here a pane is drawn. Its brightness "
    "is set to that of the photographs, its pattern is not theirs.",
    "fog": "Spectra agree. A fog is mostly a few large clouds, whose mean varies by the draw; "
    "the 64 draws of each side leave a few levels to chance.",
    "elastic_transform": "imagecorruptions has its own, smaller waves and no affine part; here "
    "they are those of the publication's code, in which severities 1 and 2 also shear by up to a "
    "tenth and a fifth of the picture.",
    "pixelate": "Where a block is no whole number of pixels, Pillow's box filter counts a pixel "
    "whole or not at all, OpenCV's by the share that lies in the block; where it is one, pixels "
    "agree.",
}


def write_report(results: dict, folder: Path) -> None:
    (folder / "RESULTS.md").write_text(_text(results), encoding="utf-8")


def failures(row: dict) -> list[str]:
    """In what a corruption at a severity is outside the tolerances."""
    ours, theirs = row["ours"], row["theirs"]
    found = []
    if row["fixed"] and row["psnr_db"] is not None and row["psnr_db"] < LEAST_PSNR_DB:
        found.append("pixels")
    if abs(ours["mean"] - theirs["mean"]) > MOST_LEVELS:
        found.append("mean")
    if abs(ours["contrast"] - theirs["contrast"]) > MOST_LEVELS:
        found.append("contrast")
    if abs(ours["change"] / theirs["change"] - 1) > MOST_CHANGE:
        found.append("change")
    if row["spectrum"] > MOST_SPECTRUM:
        found.append("spectrum")
    return found


def _line(row: dict) -> str:
    ours, theirs = row["ours"], row["theirs"]
    pixels = ""
    if row["fixed"]:
        psnr = "identical" if row["psnr_db"] is None else f"{row['psnr_db']:.1f} dB"
        pixels = f"{row['mean_difference']:.2f}, {psnr}"
    pairs = (f"{ours[k]:.1f} / {theirs[k]:.1f}" for k in ("mean", "contrast", "change"))
    said = ", ".join(failures(row)) or "agrees"
    cells = (row["corruption"].replace("_", " "), str(row["severity"]), pixels, *pairs)
    return f"| {' | '.join(cells)} | {row['spectrum']:.3f} | {said} |"


def _text(results: dict) -> str:
    rows = results["rows"]
    agree = sum(not failures(row) for row in rows)
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    outside = list(dict.fromkeys(row["corruption"] for row in rows if failures(row)))
    reasons = [f"- **{name.replace('_', ' ')}**: {WHY[name]}" for name in outside]
    return "\n".join(
        [
            "# Corruptions beside imagecorruptions",
            "",
            f"{agree} of {len(rows)} corruptions and severities agree with imagecorruptions "
            "(Michaelis et al. 2019; Apache-2.0) within the tolerances below; the others are "
            f"explained. {results['pictures']} pictures of 224 pixels, {results['seeds']} seeds "
            f"for what is drawn. {results['machine']}; {versions}.",
            "",
            "Run it: `python benchmarks/robustness/run.py`. results.json has the raw results.",
            "",
            "Tolerances: corruptions that draw nothing give the same pixels to at least "
            f"{LEAST_PSNR_DB:g} dB. Of all, over pictures and seeds: mean and contrast (standard "
            f"deviation) within {MOST_LEVELS:g} levels of 255, the root mean square change from "
            f"the picture within {MOST_CHANGE:.0%}, and the power spectrum in 12 rings within "
            f"{MOST_SPECTRUM:g} decades on average.",
            "",
            "## What differs, and why",
            "",
            *reasons,
            "",
            "## All of them",
            "",
            "Ours / theirs. *Pixels*: mean absolute difference in levels, and PSNR.",
            "",
            "| corruption | severity | pixels | mean | contrast | change | spectrum | |",
            "|---|---:|---:|---:|---:|---:|---:|---|",
            *(_line(row) for row in rows),
            "",
        ]
    )


if __name__ == "__main__":
    write_report(json.loads((HERE / "results.json").read_text()), HERE)
