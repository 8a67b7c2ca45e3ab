"""MLflow's client: opened quietly and quickly refused, with a run logged in one go."""

import json
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from pixloop.bundle import ARCHIVE, Bundle
from pixloop.errors import BundleError, RegistryError
from pixloop.files import atomic_path

_PROBE_S = 3.0
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}

#: MLflow neither reports its use nor narrates, and gives up on a silent server within a minute.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def open_client(url: str) -> Any:
    """MLflow's client. An SQLite database that is missing is made, in about two seconds.

    Raises:
        RegistryError: there is no server at the address, or it does not let us in.
    """
    url = with_driver(url)
    _probe(url)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # MLflow takes over two seconds to import; the command line must not pay that every time.
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    file = sqlite_file(url)
    if file is not None:
        _make_database(file)
    return MlflowClient(url, url)


def _make_database(file: Path) -> None:
    """Make MLflow's tables in one go: a kill amid its migrations would leave a broken file."""
    # As above.
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            with atomic_path(file) as temporary:
                store = SqlAlchemyStore(f"sqlite:///{temporary}", str(file.parent / "mlruns"))
                store.engine.dispose()


@contextmanager
def translated(url: str) -> Iterator[None]:
    """MLflow's, the database's and the network's errors become ours."""
    try:
        yield
    except (RegistryError, BundleError):
        raise
    except Exception as e:  # MLflow lets through what SQLAlchemy, requests and drivers raise
        first_line = str(e).strip().partition("\n")[0]
        raise RegistryError(f"The registry at {shown(url)}: {first_line}") from e


def log_run(
    client: Any,
    experiment: str,
    bundle: Bundle,
    evaluation: Path,
    metrics: Mapping[str, float],
    identity: str,
) -> Any:
    """MLflow's run with parameters, metrics and files; the one that a kill left is taken up."""
    # As in open_client: only who registers pays for MLflow.
    from mlflow.entities import Metric, Param, RunTag

    unfinished = client.search_runs(
        [experiment], f"tags.bundle_sha256 = '{identity}'", max_results=1
    )
    tag = {"bundle_sha256": identity, "mlflow.runName": bundle.manifest.created}
    run = unfinished[0] if unfinished else client.create_run(experiment, tags=tag)
    config = bundle.manifest.lineage.get("config", {})
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, now_ms, 0) for name, value in metrics.items()],
        params=[Param(key, json.dumps(value)) for key, value in config.items()],
        tags=[RunTag("chosen_graph", bundle.manifest.chosen_graph)],
    )
    pages = ("report.html", "model_card.html", "model_card.md")
    for file in (evaluation, *map(evaluation.with_name, pages)):
        if file.exists():
            client.log_artifact(run.info.run_id, str(file), "evaluation")
    with tempfile.TemporaryDirectory() as temporary:
        files = Path(temporary) / "bundle"
        # Not the archive: it holds the same files again.
        shutil.copytree(bundle.path, files, ignore=shutil.ignore_patterns(ARCHIVE))
        client.log_artifacts(run.info.run_id, str(files), "bundle")
    client.set_terminated(run.info.run_id)
    return run


def find_experiment(client: Any, model: str, artifacts: Path | None) -> str:
    """The experiment of the model's runs, with its artifacts where they belong."""
    place = artifacts.as_uri() if artifacts else None
    name = model
    found = client.get_experiment_by_name(name)
    if found and place and found.artifact_location != place:
        # The project has moved: MLflow would go on writing to the old folder.
        name = f"{model}-{sha256(place.encode()).hexdigest()[:8]}"
        found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=place))


def sqlite_file(url: str) -> Path | None:
    """The database file of a ``sqlite:///`` address.

    >>> sqlite_file("sqlite:////tmp/registry.db")
    PosixPath('/tmp/registry.db')
    """
    return Path(unquote(url.removeprefix("sqlite:///"))) if url.startswith("sqlite:///") else None


def shown(url: str) -> str:
    """An address without its password.

    >>> shown("postgresql://ann:secret@db/models")
    'postgresql://ann@db/models'
    """
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return parts._replace(netloc=f"{name}@{host}" if name else host).geturl()


def with_driver(url: str) -> str:
    """A PostgreSQL address with the driver of our extra: SQLAlchemy's default has changed.

    >>> with_driver("postgresql://db/models")
    'postgresql+psycopg2://db/models'
    """
    plain = "postgresql://"
    return f"postgresql+psycopg2://{url.removeprefix(plain)}" if url.startswith(plain) else url


def _probe(url: str) -> None:
    """See that a server is there and lets us in, before MLflow retries for minutes.

    Raises:
        RegistryError: it does not, or its driver is not installed.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    if parts.hostname is None or scheme not in _PORTS:
        return
    where = f"The registry at {shown(url)}"
    try:
        address = (parts.hostname, parts.port or _PORTS[scheme])
        socket.create_connection(address, timeout=_PROBE_S).close()
    except OSError as e:
        raise RegistryError(f"{where} cannot be reached: {e}. Is it running?") from e
    if scheme in ("http", "https"):
        return
    # SQLAlchemy comes with MLflow, and is as slow to import for those who need neither.
    import sqlalchemy

    try:
        sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).connect().close()
    except ImportError as e:
        raise RegistryError(
            f"{where} needs a driver: {e}. For PostgreSQL: pip install 'pixloop[postgres]'."
        ) from e
    except sqlalchemy.exc.SQLAlchemyError as e:
        first_line = str(e).strip().partition("\n")[0]
        raise RegistryError(f"{where} does not let us in: {first_line}") from e
