"""Evidently's defaults over the same streams; runs in an environment of its own.

    python evidently_looks.py STREAMS.npz RESULT.json

The latest 100 pictures are compared with the reference every 100 pictures, by the first metric of
its DataDriftPreset, which holds the preset's verdict; the preset itself also draws a plot a
column, which takes ten times as long. Its default: a column has drifted where its test says so
(K-S, or for few values chi-squared or Z, at 0.05), the data set where half of the columns have.
"""

import json
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")

LOOK = 100


def look(columns, reference, current):
    """Columns that have drifted, and their share."""
    import pandas as pd
    from evidently import Report
    from evidently.metrics import DriftedColumnsCount

    frames = (pd.DataFrame(values, columns=columns) for values in (current, reference))
    value = Report([DriftedColumnsCount()]).run(*frames).dict()["metrics"][0]["value"]
    return int(value["count"]), float(value["share"])


def looks(case):
    """What each look at a stream says, until the data set has drifted."""
    columns, reference, stream = case
    said = []
    for start in range(0, len(stream) - LOOK + 1, LOOK):
        said.append(look(columns, reference, stream[start : start + LOOK]))
        if said[-1][1] >= 0.5:
            break
    return said


def main():
    with np.load(sys.argv[1], allow_pickle=False) as file:
        arrays = dict(file)
    columns = [row[0] for row in arrays["signals"].tolist()]
    cases, places = [], []
    for key in arrays:
        kind, _, number = key.rpartition("/")
        if kind.startswith("stream:"):
            reference = arrays[f"reference:{kind.removeprefix('stream:')}/{number}"]
            cases.append((columns, arrays["clean"][reference], arrays[_source(kind)][arrays[key]]))
            places.append((kind.removeprefix("stream:"), int(number)))
    with ProcessPoolExecutor(2) as processes:
        said = list(processes.map(looks, cases, chunksize=2))
    results = {}
    for (kind, _), each in zip(places, said, strict=True):
        results.setdefault(kind, []).append(each)
    Path(sys.argv[2]).write_text(json.dumps(results))


def _source(kind):
    name = kind.removeprefix("stream:")
    return name if name == "clean" else f"{name}:3"


if __name__ == "__main__":
    main()
