"""Where a project's model versions are kept, and which of them is meant."""

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pixloop.bundle import MANIFEST, Bundle
from pixloop.challenger_version import ChallengerVersion
from pixloop.config import Config
from pixloop.files import sha256_file
from pixloop.served_version import Champion, find_bundle

if TYPE_CHECKING:
    from pixloop.model_versions import ModelVersion
    from pixloop.registry import Registry


class ProjectRegistry:
    """The registry that pixloop.yaml names, or the one below ``.pixloop``.

    Nothing is opened until it is needed: MLflow takes seconds to import.

    Args:
        config: ``registry`` and the names are read.
        state: the project's ``.pixloop`` folder.
    """

    def __init__(self, config: Config, state: Path) -> None:
        self._config, self._state = config, state

    def open(self) -> "Registry":
        """The registry of this project's model versions."""
        # Most commands do without it.
        from pixloop.registry import Registry

        return Registry(self.url, self._config.model_name, self.artifacts)

    def prepared(self) -> "Registry":
        """The registry, with MLflow imported and the database made."""
        registry = self.open()
        registry.prepare()
        return registry

    def bundle(self, version: str | None = None) -> tuple[str, Bundle]:
        """A version and its bundle: the given one, else the champion, else the latest."""
        return find_bundle(self.open, self._state, version, self.file)

    def bundle_of(self, known: "ModelVersion") -> Bundle:
        """The bundle of a version of which it is known what the registry says of it.

        The registry is asked only where the bundle is not below ``.pixloop`` yet.
        """
        kept = self._state / "bundles" / known.version
        manifest = kept / MANIFEST
        if manifest.is_file() and sha256_file(manifest) == known.bundle_sha256:
            return Bundle.open(kept)
        return self.bundle(known.version)[1]

    def find(self, name: str) -> tuple[str, Bundle]:
        """A bundle, and what it is called: a version, or a bundle's folder or archive on disk.

        Args:
            name: a number, ``"champion"`` or ``"latest"``, or a path.

        Raises:
            BundleError: it is damaged.
            RegistryError: there is no such version.
        """
        path = Path(name).expanduser()
        if "/" in name or path.exists():
            # An archive is unpacked beside the bundles of versions, where it is found again.
            digest = sha256(str(path.resolve()).encode()).hexdigest()[:16]
            bundle = Bundle.open(path, unpack_to=self._state / "bundles" / digest)
            bundle.verify()
            return name, bundle
        version, bundle = self.bundle(name)
        return f"version {version}", bundle

    def champion(self) -> Champion:
        """What says at every call which version is the champion."""
        return Champion(self.url, self._config.model_name, self.artifacts, self._state, self.file)

    def challenger(self) -> ChallengerVersion:
        """What says at every call which version is the challenger."""
        return ChallengerVersion(
            self.url, self._config.model_name, self.artifacts, self._state, self.file
        )

    def champion_bundle(self) -> Path | None:
        """The champion's bundle, unless there is no champion."""
        if self.file is not None and not self.file.exists():
            return None
        champions = [version for version in self.open().list() if version.champion]
        return self.bundle(champions[0].version)[1].path if champions else None

    @property
    def url(self) -> str:
        """MLflow's tracking address."""
        return self._config.registry.url or f"sqlite:///{self._own_file}"

    @property
    def file(self) -> Path | None:
        """The database, where it is a file of the project's."""
        return None if self._config.registry.url else self._own_file

    @property
    def artifacts(self) -> Path | None:
        """Where bundles are kept; a registry at an address of its own has its own place."""
        return None if self._config.registry.url else self._state / "registry" / "artifacts"

    @property
    def _own_file(self) -> Path:
        return self._state / "registry" / "registry.db"
