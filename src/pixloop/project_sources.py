"""What a run starts from, brought here: pictures, and weights to start from."""

from collections.abc import Callable
from pathlib import Path

from pixloop.config import Config
from pixloop.data.sources import fetch, source_key
from pixloop.errors import ConfigError, SourceError


class ProjectSources:
    """The sources that pixloop.yaml names.

    Args:
        config: ``data`` and ``model.weights`` are read.
        folder: the project's, from which relative paths are meant.
        cache: where is kept what was fetched.
    """

    def __init__(self, config: Config, folder: Path, cache: Path) -> None:
        self._config, self._folder, self._cache = config, folder, cache

    def fetch(
        self, stays: Callable[[str], bool] = lambda _: False
    ) -> tuple[str | Path, str | Path | None]:
        """Training and test pictures: folders or files here, or addresses that are left alone.

        A prepared data set on S3 is not fetched: a note of it is (see ``data.remote_dataset``).

        Args:
            stays: whether a source is left where it is.

        Raises:
            SourceError: a source cannot be fetched.
        """
        data = self._config.data
        train = self._place(data.train, stays, data.sha256)
        return train, self._place(data.test, stays) if data.test else None

    def weights(self) -> Path | None:
        """The file that ``model.weights`` names.

        Raises:
            ConfigError: there is none.
        """
        if self._config.model.weights is None:
            return None
        path = Path(self._address(self._config.model.weights))
        if not path.is_file():
            raise ConfigError(f"model.weights: {path} does not exist.")
        return path

    def _place(
        self, source: str, stays: Callable[[str], bool], sha256: str | None = None
    ) -> str | Path:
        note = self._note(source, required=not stays(source))
        if note is not None:
            return note
        if stays(source):
            return source
        return fetch(self._address(source), self._cache, sha256)

    def _note(self, source: str, required: bool) -> Path | None:
        if not source.startswith("s3://"):
            return None
        # Takes a third of a second to import.
        from pixloop.data.remote_dataset import is_prepared, remote_address, write_note

        address = remote_address(source)
        try:
            if address is None or not is_prepared(address):
                return None
        except SourceError:
            if required:
                raise
            return None  # jobs read the address on SageMaker; this machine may not be able to
        return write_note(address, self._cache / f"{source_key(address, address)}-note")

    def _address(self, source: str) -> str:
        """A source as ``fetch`` takes it; a relative path is meant from the project's folder."""
        if "://" in source:
            return source
        return str((self._folder / Path(source).expanduser()).resolve())
