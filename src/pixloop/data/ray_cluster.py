"""A Ray cluster to compute on, reached quietly; the extra ``pixloop[ray]``.

Ray's nodes run what they are sent, as pickles. So one that is begun here listens on this machine
alone and asks for a token that only its own processes know, and nothing of a stranger's files is
ever unpickled.
"""

import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pixloop.data.inspection import cores
from pixloop.errors import DataError

# For an address to answer: Ray itself would try for minutes.
_ANSWER_S = 10.0
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
def cluster(address: str, asked: str) -> Iterator[Any]:
    """Be a client of a cluster; of the one that this process belongs to already, if it does.

    Args:
        address: such as ``10.0.0.1:6379``; ``auto``, the one that this machine belongs to; or
            ``local``, one that is begun here and ends with the block.
        asked: how the address was given, for messages: an option, a variable.

    Yields:
        The module ``ray``, with ``ray.data``.

    Raises:
        DataError: Ray is not installed, or no cluster is there.
    """
    ray = _import_ray(address, asked)
    if ray.is_initialized():
        yield ray
        return
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        _knock(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError, OSError) as e:
        raise DataError(
            f"{asked}: no Ray cluster can be reached there: {e} Expected an address as"
            " 'ray start --head' tells it, such as 10.0.0.1:6379; or 'auto', or 'local'."
        ) from e
    try:
        yield ray
    finally:
        ray.shutdown()


def _import_ray(address: str, asked: str) -> Any:
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
        raise DataError(f"{asked} needs Ray: pip install 'pixloop[ray]'. ({e})") from e
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    return ray


def _knock(address: str) -> None:
    """See that something answers at a host and port."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
