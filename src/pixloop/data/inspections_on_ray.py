"""Pictures inspected by the nodes of a Ray cluster, through Ray Data; the extra ``pixloop[ray]``.

What is inspected goes to the nodes in rounds, each a small data set of names, and what they find
comes back as it is found: memory here depends neither on how many pictures there are nor on how
many nodes. Every node reads the pictures itself, so they must lie where all see them under the
same path. Which node looked at a picture, and when, changes nothing in what is found.
"""

import itertools
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pixloop.data import check
from pixloop.data.check import Inspection
from pixloop.data.index import FileState
from pixloop.data.inspection import Inspected, cores, inspect_safely, keep_upright
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
# For a node to answer, whose worker must start first; and for an address.
_CHECK_S = 300.0
_ANSWER_S = 10.0


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
    with _cluster(address):
        _check_nodes()
        files = iter(files)
        while batch := list(itertools.islice(files, _ROUND)):
            for inspected in _inspect_round(batch, max_pixels):
                for file, inspection in inspected:
                    _refuse_unseen(file, inspection)
                yield [(file, keep_upright(found, upright)) for file, found in inspected]


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Be a quiet client of a cluster: of the one that this process belongs to, if it does."""
    ray = _ray()
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        _knock(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError, OSError) as e:
        raise DataError(
            f"{RAY}={address}: no Ray cluster can be reached there: {e} Expected an address as "
            "'ray start --head' tells it, such as 10.0.0.1:6379; or 'auto', or 'local'."
        ) from e
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """See that something answers at a host and port; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()


def _ray() -> Any:
    """Ray, which is an extra, and tells nobody that it is used."""
    # Read when Ray is imported, here and on the nodes that are started from here.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as e:
        raise DataError(f"{RAY} is set and needs Ray: pip install 'pixloop[ray]'.") from e
    return ray


def _check_nodes() -> None:
    """See that every node has a pixloop that finds in a picture what this one does."""
    ray = _ray()
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


def _inspect_round(files: list[FileState], max_pixels: int) -> Iterator[Inspected]:
    """What the nodes find, in no order."""
    ray = _ray()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
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
