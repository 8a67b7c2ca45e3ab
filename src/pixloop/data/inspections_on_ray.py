"""Pictures inspected by the nodes of a Ray cluster, through Ray Data; the extra ``pixloop[ray]``.

What is inspected goes to the nodes in rounds, each a small data set of names, and what they find
comes back as it is found: memory here depends neither on how many pictures there are nor on how
many nodes. Every node reads the pictures itself, so they must lie where all see them under the
same path. Which node looked at a picture, and when, changes nothing in what is found.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pixloop.data import check
from pixloop.data.check import Inspection
from pixloop.data.index import FileState
from pixloop.data.inspection import Inspected, inspect_safely, keep_upright
from pixloop.data.ray_cluster import cluster
from pixloop.errors import DataError

#: Which cluster checks the pictures: an address, ``auto`` (the one that this machine belongs to)
#: or ``local`` (one that is started here, and ends with the work).
RAY = "PIXLOOP_RAY"

# Files a task: some tenth of a second of work.
_CHUNK = 128
# Files that come back together, the pictures turned upright with them.
_TOGETHER = 16
# Files a round. At its end nodes wait for the last of them, so it is many chunks.
_ROUND = 50_000
# For a node to answer, whose worker must start first.
_CHECK_S = 300.0


def inspect_on_ray(
    files: Iterable[FileState], max_pixels: int, upright: Path, address: str
) -> Iterator[Inspected]:
    """Inspect files as ``inspect_files`` does, on the nodes of a cluster.

    A file that kills the process that reads it is found out on its node, and called corrupt. What
    a node had not given back when it went away is looked at by another one.

    Args:
        files: what to inspect; read in rounds.
        max_pixels: pictures with more are not decoded.
        upright: the folder, on this machine, for pictures turned upright.
        address: see ``RAY``.

    Raises:
        DataError: Ray is not installed or cannot be reached, a node has another pixloop or none, or
            does not see the pictures.
    """
    with cluster(address, f"{RAY}={address}") as ray:
        _check_nodes(ray)
        files = iter(files)
        while batch := list(itertools.islice(files, _ROUND)):
            for inspected in _inspect_round(ray, batch, max_pixels):
                for file, inspection in inspected:
                    _refuse_unseen(file, inspection)
                yield [(file, keep_upright(found, upright)) for file, found in inspected]


def _check_nodes(ray: Any) -> None:
    """See that every node has a pixloop that finds in a picture what this one does."""
    on_node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not nodes:
        raise DataError("The Ray cluster has no node with CPUs to check pictures with.")
    ask = ray.remote(num_cpus=0, max_retries=1)(_version_there)
    asked = {
        ask.options(scheduling_strategy=on_node(node["NodeID"], soft=False)).remote(): (
            node["NodeManagerAddress"]
        )
        for node in nodes
    }
    for answer, node in asked.items():
        try:
            found = ray.get(answer, timeout=_CHECK_S)
        except ray.exceptions.RayError as e:
            raise DataError(
                f"The Ray node {node} cannot check pictures: {_reason(e)}. Every node needs the "
                "same pixloop as this machine, in the Python that runs Ray there."
            ) from e
        if found != check.VERSION:
            raise DataError(
                f"The Ray node {node} has another pixloop, which checks pictures otherwise "
                f"(version {found} of the check, here {check.VERSION}). Install the same."
            )


def _version_there() -> int:
    return check.VERSION


def _reason(error: Exception) -> str:
    """The last line of an error: what was raised there, below where."""
    return str(error).strip().rpartition("\n")[2]


def _inspect_round(ray: Any, files: list[FileState], max_pixels: int) -> Iterator[Inspected]:
    """What the nodes find, in no order."""
    columns = zip(*files, strict=True)
    table = pa.table(dict(zip(FileState._fields, map(list, columns), strict=True)))
    chunks = [table.slice(start, _CHUNK) for start in range(0, len(files), _CHUNK)]
    found = ray.data.from_arrow(chunks).map_batches(
        _inspect_there,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={"max_pixels": max_pixels},
    )
    try:
        for block in found.iter_batches(batch_size=None, batch_format="numpy"):
            yield block["found"].tolist()
    except ray.exceptions.RayError as e:
        raise DataError(f"The Ray cluster stopped checking pictures: {_reason(e)}") from e


def _inspect_there(batch: Any, max_pixels: int) -> Iterator[dict[str, Any]]:
    """Inspect a task's files, on a node; some at a time, so that large pictures are never many."""
    files = [FileState(**row) for row in batch.to_pylist()]
    for start in range(0, len(files), _TOGETHER):
        for inspected in inspect_safely(files[start : start + _TOGETHER], max_pixels):
            found = np.empty(len(inspected), object)  # else each one's parts would be columns
            found[:] = inspected
            yield {"found": found}


def _refuse_unseen(file: FileState, inspection: Inspection) -> None:
    """A file that is here and not there is no missing file: nodes look at another disk."""
    unseen = next((f for f in inspection.findings if f.kind == "missing_file"), None)
    if unseen is not None and os.path.isfile(file.path):  # noqa: PTH113 (no error for an odd name)
        raise DataError(
            f"A Ray node cannot read {file.path}, which is here: {unseen.detail}. The pictures "
            "must lie where all nodes see them under the same path, such as a shared file system."
        )
