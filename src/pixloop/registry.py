"""Model versions in MLflow: register, list, compare, approve, reject, roll back.

A version is pending until a person approves or rejects it. The version that was approved last is
the champion: MLflow's alias ``champion`` points at it. The champions of the past are kept in
order, in a tag of the registered model, so that ``rollback`` can go back step by step.

By default all of it is one SQLite file with a folder of bundles beside it; any other MLflow
tracking address (``postgresql://…``, ``https://…``) holds the same.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pixloop.bundle import MANIFEST, Bundle, now
from pixloop.errors import BundleError, RegistryError
from pixloop.files import sha256_file
from pixloop.model_versions import (
    CHAMPION,
    EVALUATION,
    Comparison,
    ModelVersion,
    compare_versions,
    find_version,
    read_evaluation,
    read_metrics,
    read_version,
    refuse_champion,
    refuse_promotion,
)
from pixloop.tracking import find_experiment, log_run, open_client, sqlite_file, translated

_HISTORY = "champions"
_KEPT_CHAMPIONS = 200


class Registry:
    """The versions of one model."""

    def __init__(self, url: str, model: str, artifacts: Path | None = None) -> None:
        """Nothing is opened until it is needed.

        Args:
            url: an MLflow tracking address: ``sqlite:///…``, ``postgresql://…``, ``https://…``.
            model: the registered model's name.
            artifacts: the folder for bundles. Without it, MLflow's own place for artifacts.
        """
        self.url = url
        self.model = model
        self.artifacts = artifacts.absolute() if artifacts else None

    def prepare(self) -> None:
        """Load MLflow and make the database where it is missing.

        Everything else does so when it must; a run can do it beforehand in a thread of its own,
        since the first time takes five seconds.
        """
        with translated(self.url):
            _ = self._client

    def register(
        self, bundle: Path, evaluation: Path, lineage: Mapping[str, Any] | None = None
    ) -> ModelVersion:
        """Register a bundle with its evaluation; a bundle is registered once.

        Args:
            bundle: the bundle's folder.
            evaluation: evaluation.json; a report.html beside it is kept as well.
            lineage: what is known beyond the bundle's own lineage.

        Raises:
            BundleError: the bundle is damaged.
            RegistryError: the registry cannot be reached, or evaluation.json cannot be read.
        """
        opened = Bundle.open(bundle)
        opened.verify()
        metrics = read_metrics(evaluation)
        identity = sha256_file(bundle / MANIFEST)
        with translated(self.url):
            for known in self._versions():
                if known.bundle_sha256 == identity:
                    return known
            experiment = find_experiment(self._client, self.model, self.artifacts)
            run = log_run(self._client, experiment, opened, evaluation, metrics, identity)
            self._make_model()
            tags = {
                "status": "pending",
                "chosen_graph": opened.manifest.chosen_graph,
                "metrics": json.dumps(metrics),
                "lineage": json.dumps({**opened.manifest.lineage, **(lineage or {})}),
                "bundle_sha256": identity,
            }
            source = f"{run.info.artifact_uri}/bundle"
            # One transaction writes the version with all its tags: there is no half of one.
            made = self._client.create_model_version(self.model, source, run.info.run_id, tags)
            return self.show(str(made.version))

    def list(self) -> Sequence[ModelVersion]:
        """Every version, the newest first."""
        with translated(self.url):
            return self._versions()

    def show(self, version: str) -> ModelVersion:
        """One version: a number, ``"latest"`` or ``"champion"``.

        Raises:
            RegistryError: there is no such version; the message lists those there are.
        """
        versions = self.list()
        if not versions:
            raise RegistryError(f"{self.model} has no versions yet. 'pixloop run' makes one.")
        return find_version(versions, version)

    def approve(self, version: str) -> ModelVersion:
        """Approve a version: it becomes the champion."""
        chosen = self.show(version)
        with translated(self.url):
            since = {} if chosen.champion else {"champion_since": now()}
            self._tag(chosen, status="approved", reason="", **since)
            champions = self._champions()
            if not champions or champions[-1] != chosen.version:
                self._keep_champions([*champions, chosen.version])
            self._client.set_registered_model_alias(self.model, CHAMPION, chosen.version)
        return self.show(chosen.version)

    def promote(self, version: str = "latest") -> ModelVersion:
        """Approve a version if its evaluation says so, by the paired test against the champion.

        Raises:
            RegistryError: it does not, it was compared with another champion than today's, it was
                rejected, or its evaluation has no such test; the message says which, and why.
        """
        chosen = self.show(version)
        if chosen.champion:
            return chosen
        champion = next((each for each in self.list() if each.champion), None)
        refuse_promotion(chosen, champion, self.evaluation(chosen.version))
        return self.approve(chosen.version)

    def evaluation(self, version: str) -> Mapping[str, Any]:
        """The ``pixloop`` section of a version's evaluation.json.

        Raises:
            RegistryError: there is no such version, or its evaluation is not there any more.
        """
        chosen = self.show(version)
        with tempfile.TemporaryDirectory(prefix="pixloop-") as temporary:
            folder = self._fetch(chosen, Path(temporary), "evaluation")
            return read_evaluation(folder / EVALUATION)

    def reports(self, version: ModelVersion, to: Path) -> Path:
        """The folder of a version's evaluation.json, report.html and model card.

        Args:
            version: one of this registry's.
            to: where they are copied to, unless they lie on this machine; what is there is used.

        Raises:
            RegistryError: they are not there any more.
        """
        beside = self._beside(version, "evaluation")
        if beside is not None:
            return beside
        if self.artifacts is not None:
            raise RegistryError(f"The reports of version {version.version} are not there any more.")
        if not (to / EVALUATION).is_file():
            to.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=to.parent, prefix=".reports-") as temporary:
                shutil.rmtree(to, ignore_errors=True)
                self._fetch(version, Path(temporary), "evaluation").replace(to)
        return to

    def reject(self, version: str, reason: str = "") -> ModelVersion:
        """Reject a version.

        Raises:
            RegistryError: it is the champion.
        """
        chosen = self.show(version)
        refuse_champion(chosen)
        with translated(self.url):
            self._tag(chosen, status="rejected", reason=reason)
        return self.show(chosen.version)

    def rollback(self) -> ModelVersion:
        """Make the previous champion the champion again; it can be repeated.

        Raises:
            RegistryError: there is no champion, or none before it.
        """
        past = self._past_champions()
        before = self.show(past[-1])
        with translated(self.url):
            self._tag(before, champion_since=now())
            # The alias decides; a kill in between leaves a history that is too long, no more.
            self._client.set_registered_model_alias(self.model, CHAMPION, past[-1])
            self._keep_champions(past)
        return self.show(past[-1])

    def previous(self) -> ModelVersion:
        """The version that ``rollback`` would make the champion.

        Raises:
            RegistryError: as ``rollback``.
        """
        return self.show(self._past_champions()[-1])

    def compare(self, a: str, b: str) -> Comparison:
        """The metrics of two versions, and how far ``b`` is from ``a``."""
        return compare_versions(self.show(a), self.show(b))

    def bundle(self, version: str, to: Path) -> Bundle:
        """A version's bundle, verified, in the folder ``to``; what is there already is used.

        Raises:
            BundleError: the bundle that the registry holds is damaged.
            RegistryError: there is no such version, or its bundle is not there any more.
        """
        chosen = self.show(version)
        if not _is_bundle(to, chosen.bundle_sha256):
            to.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=to.parent, prefix=".bundle-") as temporary:
                fetched = self._fetch(chosen, Path(temporary))
                if not _is_bundle(fetched, chosen.bundle_sha256):
                    raise BundleError(f"{chosen.bundle} is not the bundle that was registered.")
                shutil.rmtree(to, ignore_errors=True)
                fetched.replace(to)
        opened = Bundle.open(to)
        opened.verify()
        return opened

    # ---- inside

    @cached_property
    def _client(self) -> Any:
        return open_client(self.url)

    def _versions(self) -> Sequence[ModelVersion]:
        file = sqlite_file(self.url)
        if file is not None and not file.exists():
            return []  # asking must not make a database
        if "'" in self.model:
            raise RegistryError(f"registry.model: {self.model!r} may not have a quote in it.")
        found, token = [], None
        while True:
            page = self._client.search_model_versions(f"name='{self.model}'", page_token=token)
            found += list(page)
            token = page.token
            if not token:
                break
        champion = self._model().aliases.get(CHAMPION) if found else None
        versions = [read_version(each, str(each.version) == str(champion)) for each in found]
        return sorted(versions, key=lambda each: int(each.version), reverse=True)

    def _model(self) -> Any:
        return self._client.get_registered_model(self.model)

    def _make_model(self) -> None:
        # As in tracking.open_client: only who registers pays for MLflow.
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(self.model)
        except MlflowException as e:
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _tag(self, version: ModelVersion, **tags: str) -> None:
        for key, value in tags.items():
            self._client.set_model_version_tag(self.model, version.version, key, value)

    def _champions(self) -> Sequence[str]:
        """Past champions, the present one last."""
        model = self._model()
        champions = json.loads(model.tags.get(_HISTORY, "[]"))
        current = model.aliases.get(CHAMPION)
        if current is None:
            return []
        # A kill, or another tool, may have moved the alias without the history.
        while champions and champions[-1] != str(current) and str(current) in champions:
            champions.pop()
        return champions if str(current) in champions else [*champions, str(current)]

    def _keep_champions(self, champions: Sequence[str]) -> None:
        kept = json.dumps([*champions][-_KEPT_CHAMPIONS:])
        self._client.set_registered_model_tag(self.model, _HISTORY, kept)

    def _past_champions(self) -> Sequence[str]:
        """Champions that can be gone back to, the one to go back to last."""
        current = self.show(CHAMPION)
        rejected = {each.version for each in self.list() if each.status == "rejected"}
        with translated(self.url):
            past = [v for v in self._champions()[:-1] if v not in rejected]
        while past and past[-1] == current.version:
            past.pop()
        if not past:
            raise RegistryError(
                f"There was no champion before version {current.version}"
                + (" that was not rejected since." if rejected else ".")
            )
        return past

    def _beside(self, version: ModelVersion, what: str) -> Path | None:
        # MLflow noted an absolute path, which a project that has moved leaves behind.
        if self.artifacts is None:
            return None
        folder = self.artifacts / version.run / "artifacts" / what
        return folder if folder.is_dir() else None

    def _fetch(self, version: ModelVersion, folder: Path, what: str = "bundle") -> Path:
        """Copy a version's bundle, or its evaluation, into ``folder``."""
        beside = self._beside(version, what)
        if beside is not None:
            return Path(shutil.copytree(beside, folder / what))
        with translated(self.url):
            return Path(self._client.download_artifacts(version.run, what, str(folder)))


def _is_bundle(folder: Path, identity: str) -> bool:
    manifest = folder / MANIFEST
    return manifest.is_file() and sha256_file(manifest) == identity
