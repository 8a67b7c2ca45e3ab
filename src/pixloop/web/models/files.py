"""Where the files of a version lie: its evaluation, its report and card, its bundle's manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from pixloop.bundle import MANIFEST, Bundle, Manifest
from pixloop.errors import BundleError, RegistryError
from pixloop.files import sha256_file
from pixloop.model_versions import EVALUATION, ModelVersion, read_evaluation
from pixloop.web.cached import stamp
from pixloop.web.site import FOLDER, Site


def find(site: Site, version: str) -> ModelVersion:
    """The version of a number; anything else that an address may hold is answered with 404."""
    versions = site.versions()
    for each in versions:
        if each.version == version:
            return each
    newest = ", ".join(each.version for each in versions[:10])
    has = (
        f"The newest are {newest}." if versions else "There are none yet: 'pixloop run' makes one."
    )
    raise HTTPException(404, f"There is no version {version[:80]!r}. {has}")


def reports(site: Site, version: ModelVersion) -> Path:
    """The folder of a version's evaluation and pages.

    Raises:
        RegistryError: they are not there any more.
    """
    kept = site.state / FOLDER / "reports" / version.run
    return site.project.registry.reports(version, kept)


def read(site: Site, version: ModelVersion) -> Mapping[str, Any] | None:
    """The ``pixloop`` section of a version's evaluation.json; None where it cannot be had."""
    try:
        file = reports(site, version) / EVALUATION
        return site.cached.get(
            ("evaluation", version.version), stamp(file), lambda: read_evaluation(file)
        )
    except (RegistryError, OSError):
        return None


def manifest(site: Site, version: ModelVersion) -> Manifest | None:
    """What bundle.json of a version says, where a bundle of it lies on this machine."""
    artifacts = site.project.registry.artifacts
    folders = [site.state / "bundles" / version.version]
    if artifacts is not None:
        folders.insert(0, artifacts / version.run / "artifacts" / "bundle")
    for folder in folders:
        file = folder / MANIFEST
        if file.is_file() and sha256_file(file) == version.bundle_sha256:
            try:
                return Bundle.open(folder).manifest
            except BundleError:
                continue
    return None
