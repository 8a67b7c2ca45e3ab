"""A Ray cluster to compute on, reached quietly; the extra ``pixloop[ray]``.

Ray's nodes run what they are sent, as pickles. So one that is begun here listens on this machine
alone and asks for a token that only its own processes know, and nothing of a stranger's files is
ever unpickled.
"""

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pixloop.errors import ConfigError, DataError
from pixloop.serving.engines import usable_cores

#: Set before Ray is imported; the nodes that are begun here inherit it.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Types in Parquet that Ray would unpickle.
    "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE": "0",
    "RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR": "0",
    "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA": "0",
}


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Be a client of a cluster; of the one that this process belongs to already, if it does.

    Args:
        address: such as ``10.0.0.1:6379``; ``auto``, the one that this machine belongs to; or
            ``local``, one that is begun here and ends with the block.

    Raises:
        ConfigError: Ray is not installed.
        DataError: no cluster is there.
    """
    os.environ.update(_ENVIRONMENT)
    # What matters comes as an exception; the rest frightens without need.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address == "local" and "ray" not in sys.modules:
        # Once imported, Ray makes a token of its own, which it keeps in the home folder.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
        import ray.data
    except ImportError as e:
        raise ConfigError("--ray needs Ray: pip install 'pixloop[ray]'.") from e
    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": usable_cores(), "include_dashboard": False}
        own["_node_ip_address"] = "127.0.0.1"
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError, OSError) as e:
        raise DataError(
            f"--ray {address}: no Ray cluster can be reached there: {e} Expected an address as "
            "'ray start --head' tells it, such as 10.0.0.1:6379; or 'auto', or 'local'."
        ) from e
    try:
        yield
    finally:
        ray.shutdown()


def shares() -> tuple[int, int]:
    """How many workers a cluster takes, and how many CPUs each: one worker a smallest node.

    Raises:
        DataError: it has no CPUs.
    """
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call, unused-ignore]
    cpus_of = (int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"])
    able = [cpus for cpus in cpus_of if cpus]
    if not able:
        raise DataError("the Ray cluster has no node with CPUs to predict with.")
    return sum(cpus // min(able) for cpus in able), min(able)
