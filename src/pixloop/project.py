"""The Python API: one folder with a ``pixloop.yaml``, and one verb a stage.

>>> from pixloop.project import Project
>>> project = Project.open("vehicles")           # doctest: +SKIP
>>> summary = project.run()                      # doctest: +SKIP
>>> summary.metrics["f1_macro"]                  # doctest: +SKIP
0.97

The command line calls only this module. ``torch`` and MLflow are imported by the steps and the
registry, when they are needed: opening a project takes milliseconds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pixloop.bundle import Bundle
from pixloop.config import FILE_NAME, Config
from pixloop.config_file import load_config, parse_config, render_config
from pixloop.errors import ConfigError, GateRefused, PipelineError
from pixloop.files import write_text
from pixloop.picture_predictions.files import find_pictures
from pixloop.picture_predictions.output import check_output, write_predictions
from pixloop.picture_predictions.predict import (
    predict_with,
    predict_with_bundle,
    predict_with_server,
)
from pixloop.picture_predictions.record import PicturePrediction, Summary, file_name
from pixloop.pipeline.definition import build_definition
from pixloop.pipeline.display import Listener, Silent
from pixloop.pipeline.early_check import check_early
from pixloop.pipeline.launch import asked_processes
from pixloop.pipeline.local import run_local
from pixloop.pipeline.registration import register_model
from pixloop.pipeline.runs import Cause, RunRecord, list_runs
from pixloop.project_folder import git_commit, project_name, stored_source
from pixloop.project_loop import Listening, ProjectLoop
from pixloop.project_registry import ProjectRegistry
from pixloop.project_sources import ProjectSources
from pixloop.run_summary import RunSummary, report_of, summarise

if TYPE_CHECKING:
    from pixloop.annotation.label_studio.label_studio import LabelStudio
    from pixloop.annotation.queue import ReviewQueue
    from pixloop.aws.project import AwsProject
    from pixloop.data.annotations import AnnotationStore
    from pixloop.data.dataset import Dataset
    from pixloop.evaluation.comparison.compare import Comparison
    from pixloop.model_versions import ModelVersion
    from pixloop.monitoring.monitor import Monitor
    from pixloop.picture_predictions.batch import BatchSummary
    from pixloop.registry import Registry
    from pixloop.tuning.tune import Tuning
    from pixloop.verification.result import VerificationResult
    from pixloop.watching.events import Event
    from pixloop.watching.watcher import Watcher

STATE = ".pixloop"
ANNOTATIONS = "annotations"
OWN_TESTS = "verify"


class Project:
    """A project folder: its configuration, its runs and its registry."""

    def __init__(self, folder: Path, config: Config, overrides: Iterable[str] = ()) -> None:
        """Use ``Project.open`` or ``Project.init``."""
        self.folder = folder
        self.config = config
        #: The ``key=value`` that it was opened with, which ``config`` has taken in already.
        self.overrides = tuple(overrides)
        self.state = folder / STATE
        self._sources = ProjectSources(config, folder, self.state / "sources")
        self._registry = ProjectRegistry(config, self.state)
        self._loop = ProjectLoop(config, folder, self.state, self._registry, self.run)

    @classmethod
    def open(cls, folder: str | Path = ".", overrides: Iterable[str] = ()) -> "Project":
        """Open the project in ``folder``; ``overrides`` are ``key=value`` with dotted keys.

        Raises:
            ConfigError: there is no pixloop.yaml, or it or an override is wrong.
        """
        root, overrides = Path(folder).resolve(), tuple(overrides)
        return cls(root, load_config(root / FILE_NAME, overrides), overrides)

    @classmethod
    def init(
        cls,
        folder: str | Path,
        data: str,
        task: str = "classification",
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> "Project":
        """Make a project folder with a pixloop.yaml.

        Args:
            folder: made where it is missing.
            data: a folder, file or address, as the key ``data.train`` takes it. A relative path
                is meant from the current folder, and is written so that it holds in the project.
            task: what is learned.
            settings: further sections and keys of pixloop.yaml.

        Raises:
            ConfigError: the folder already holds a project, or a setting is wrong.
        """
        root = Path(folder).resolve()
        file = root / FILE_NAME
        if file.exists():
            raise ConfigError(f"{file} exists. Edit it, or choose another folder.")
        chosen: dict[str, Any] = {
            "task": task,
            "name": project_name(root),
            **{name: dict(section) for name, section in (settings or {}).items()},
        }
        chosen["data"] = {"train": stored_source(data, root), **chosen.get("data", {})}
        config = parse_config(chosen, where=str(file))
        write_text(file, render_config(chosen))
        return cls(root, config)

    # ---- the loop ---------------------------------------------------------------------------

    def run(
        self,
        listener: Listener | None = None,
        on: Literal["here", "sagemaker"] = "here",
        tune: bool = False,
        cause: Cause | None = None,
    ) -> RunSummary:
        """Run the pipeline: prepare, train, export, evaluate, gate, register.

        Finished steps whose inputs did not change are reused; a run that was killed resumes.

        Args:
            listener: is told what happens.
            on: this machine, or SageMaker, to which pictures that lie here are uploaded.
            tune: search for the best of the settings that ``tuning`` names; on SageMaker only.
            cause: why, for the record of a run here; by default, that a person wants it. The
                settings that the project was opened with are noted in any case.

        Raises:
            GateRefused: the model does not meet the gate.
            PipelineError: a step failed.
            DataError, ConfigError: the data or the configuration cannot be used; where nothing
                is prepared yet, wrong names in it are found before anything is.
            AwsError: something is missing on AWS, or AWS refuses.
        """
        if on == "sagemaker":
            return self._run_on_sagemaker(listener, tune)
        if tune:
            raise ConfigError(
                "--tune searches on SageMaker: add --on sagemaker. Here, 'pixloop tune' does."
            )
        definition = self._define_here(self.config, _as_uri(self._registry.champion_bundle()))
        # The registry takes seconds to open, the first time more: meanwhile the steps work.
        with ThreadPoolExecutor(1) as pool:
            registry = pool.submit(self._registry.prepared)
            try:
                record = run_local(
                    definition,
                    self.state,
                    name=self.config.name,
                    register=lambda arguments: register_model(registry.result(), arguments),
                    listener=listener,
                    before_work=self._check_early,
                    cause=(cause or Cause(by="person")).model_copy(
                        update={"settings": self.overrides}
                    ),
                )
            except GateRefused as e:
                raise GateRefused(f"{e}\nThe report says why: {self.report()}") from e
        return summarise(self.config.name, record)

    def definition(self) -> dict[str, Any]:
        """The pipeline definition, as SageMaker reads it."""
        return build_definition(self.config, commit=git_commit(self.folder))

    def tuning(self) -> "Tuning":
        """The search for better settings, as the section ``tuning`` describes it."""
        # Optuna takes a second to import.
        from pixloop.tuning.tune import Tuning

        return Tuning(self.config, self.state, self._define_here, self._sources.weights())

    def _define_here(self, config: Config, champion: str | None = None) -> dict[str, Any]:
        """The pipeline definition of a configuration, over what lies on this machine."""
        train, test = map(_as_uri, self._sources.fetch())
        # A file of weights is for the network that the project names.
        same = config.model.name == self.config.model.name
        return build_definition(
            config,
            train=train,
            test=test,
            weights=_as_uri(self._sources.weights()) if same else None,
            champion=champion,
            annotations=_as_uri(self._annotated()),
            commit=git_commit(self.folder),
        )

    def runs(self) -> list[RunRecord]:
        """The runs on this machine, the newest first."""
        return list_runs(self.state)

    def report(self) -> Path:
        """The HTML report of the last run that was evaluated.

        Raises:
            PipelineError: there is none yet.
        """
        for run in list_runs(self.state):
            file = report_of(run)
            if file.is_file():
                return file
        raise PipelineError(f"{self.folder} has no report yet. 'pixloop run' makes one.")

    def dataset(self) -> "Dataset | None":
        """The data set of the last run here that prepared one; None where none has yet.

        Raises:
            DataError: it is damaged, or of a newer pixloop.
        """
        return self._loop.dataset()

    # ---- model versions ---------------------------------------------------------------------

    @property
    def registry(self) -> "Registry":
        """The registry of this project's model versions."""
        return self._registry.open()

    @property
    def registry_file(self) -> Path | None:
        """The registry's database, where it is a file of the project's."""
        return self._registry.file

    def bundle(self, version: str | None = None) -> tuple[str, Bundle]:
        """A version and its bundle: the given one, else the champion, else the latest.

        ``version`` may also be ``"champion"`` or ``"latest"``.
        """
        return self._registry.bundle(version)

    @property
    def on_aws(self) -> "AwsProject":
        """The project's verbs on AWS.

        Raises:
            AwsError: boto3, an extra, is not installed.
        """
        # boto3 is an extra, and takes long to import.
        from pixloop.aws.project import AwsProject

        return AwsProject(self.config, self.state, git_commit(self.folder), self.bundle)

    # ---- serving ----------------------------------------------------------------------------

    def serve(
        self,
        version: str | None = None,
        host: str | None = None,
        port: int | None = None,
        ready: Callable[[str], None] | None = None,
    ) -> None:
        """Serve a version over HTTP until the process is told to stop.

        Without ``version`` it is the champion, else the latest, and the server follows: a new
        champion takes over while it serves, unless ``serving.follow_s`` is 0.

        ``ready`` is called with the address; without one, a line on standard output gives it.
        """
        # The web server is no part of the other verbs.
        from pixloop.serving.server import serve

        chosen, bundle = self.bundle(version)
        settings = self.config.serving.model_copy(
            update={k: v for k, v in (("host", host), ("port", port)) if v is not None}
        )
        shadow = self.config.promotion.shadow and version is None
        follow = self._registry.champion() if version is None and settings.follow_s else None
        serve(
            bundle.path,
            f"{self.config.model_name}:{chosen}",
            settings,
            ready,
            follow,
            captures=self._loop.captures,
            challenger=self._registry.challenger() if shadow else None,
        )

    def predict(
        self,
        pictures: Iterable[Path],
        url: str | None = None,
        version: str | None = None,
        draw: Path | None = None,
        on: Literal["here", "sagemaker", "lambda", "rekognition"] = "here",
    ) -> Iterator[PicturePrediction]:
        """Predict picture files, with a version here, with a server, or with what serves on AWS.

        Files are read as answers are taken, and few are held at once. A picture that cannot be
        read gives an answer with ``error`` and stops nothing.

        Args:
            pictures: files, and folders of them; see ``find_pictures``.
            url: the address of a server.
            version: the one that answers here; the champion, else the latest.
            draw: a folder; each picture is written there with its answer drawn over it.
            on: where what answers is, if not here and at no ``url``.

        Raises:
            DataError: a folder has no pictures, or a drawing cannot be written.
            ServingError: nothing answers at ``url``, or not as a pixloop server does.
            AwsError: nothing serves there, or AWS refuses.
        """
        files = find_pictures(pictures)
        if url is not None:
            yield from predict_with_server(url, files, draw)
        elif on == "rekognition":
            yield from predict_with(self.on_aws.rekognition.ask, files, draw)
        elif on != "here":
            yield from predict_with(self.on_aws.deployments.asker(on), files, draw)
        else:
            yield from predict_with_bundle(self.bundle(version)[1], files, draw)

    def predict_into(
        self,
        output: Path,
        pictures: Iterable[Path],
        url: str | None = None,
        version: str | None = None,
        draw: Path | None = None,
        on: Literal["here", "sagemaker", "lambda", "rekognition"] = "here",
    ) -> Summary:
        """As ``predict``, into a file: JSON lines, CSV or Parquet, as its suffix says.

        The file appears whole, at the end. A run that was interrupted, even by a kill, goes on
        where it was, unless another model answers now, other places are named, or pictures are
        drawn; a picture that was overwritten meanwhile is answered again.

        Raises:
            ConfigError: the suffix is none of these.
            DataError: as ``predict``, or the file cannot be written.
            ServingError, AwsError: as ``predict``.
        """
        check_output(output)
        places = list(pictures)
        return write_predictions(
            output,
            self._who_answers(url, version, on),
            lambda: find_pictures(places),
            lambda files: self.predict(files, url, version, draw, on),
            [file_name(place.absolute()) for place in places],
            resume=draw is None,
        )

    def predict_batch(
        self,
        places: Iterable[str | Path],
        output: str | Path,
        version: str | None = None,
        ray: str | None = None,
        column: str | None = None,
        restart: bool = False,
    ) -> "BatchSummary":
        """Predict any number of pictures, here or on S3, into a folder of Parquet files.

        ``ray`` is a Ray cluster's address, ``auto`` or ``local``; for the rest, and what it
        raises, see ``picture_predictions.batch.predict_batch``.
        """
        # pyarrow takes a while to import.
        from pixloop.picture_predictions.batch import predict_batch
        from pixloop.picture_predictions.on_ray import Ray

        number, bundle = self.bundle(version)
        model, engine = f"{self.config.model_name}:{number}", Ray(ray) if ray else None
        return predict_batch(
            bundle, model, places, output, column=column, restart=restart, engine=engine
        )

    def verify_url(
        self,
        url: str,
        version: str | None = None,
        tests: Path | None = None,
        verbose: bool = False,
    ) -> "VerificationResult":
        """Test the server at ``url`` by a version's certificate and the project's own tests.

        Args:
            url: an address that answers without credentials.
            version: the one that it should serve; the champion, else the latest.
            tests: a folder of ``test_*.py``; by default ``verify`` beside pixloop.yaml.
            verbose: let pytest print its own report.
        """
        # httpx and pytest are no part of the other verbs.
        from pixloop.verification.http import open_url
        from pixloop.verification.run import run_suite

        bundle = self.bundle(version)[1]
        with open_url(url) as deployment:
            deployment.ping()  # raises where nothing answers, which every test would say again
            return run_suite(deployment, bundle.path, tests or self.own_tests, verbose)

    @property
    def own_tests(self) -> Path:
        """Where the project's own tests of deployments are, if it has any."""
        return self.folder / OWN_TESTS

    def compare(
        self, a: str, b: str, data: Path | None = None, output: Path | None = None
    ) -> "Comparison":
        """Score two models on the same test pictures, and say which is better.

        Args:
            a: a version's number, ``"champion"`` or ``"latest"``, or a bundle's folder or archive.
            b: the same, of the challenger.
            data: a data set's folder; without one, that of the last run here.
            output: the HTML file to write; without one, below ``.pixloop/comparisons``.

        Raises:
            BundleError: a bundle is damaged, or the two do not answer the same question.
            PipelineError: there is no data set.
            RegistryError: there is no such version.
        """
        return self._loop.compare(a, b, data, output)

    # ---- watching, asking, and beginning anew -----------------------------------------------

    def monitor(self, version: str | None = None, known: "ModelVersion | None" = None) -> "Monitor":
        """What watches a version's captured predictions: the given one, else what is served.

        Args:
            version: its number, ``"champion"`` or ``"latest"``.
            known: what the registry says of a version, which is asked nothing then, where the
                version's bundle is at hand.

        Raises:
            MonitoringError: the version's bundle has no reference to hold them against.
        """
        return self._loop.monitor(version, known)

    @property
    def captures(self) -> Path:
        """Where the server keeps requests and answers on this machine."""
        return self._loop.captures

    @property
    def review(self) -> "ReviewQueue":
        """The pictures that people are asked about, or may be."""
        return self._loop.queue

    @property
    def annotations(self) -> "AnnotationStore":
        """What people said about pictures; the next run learns from it."""
        return self._loop.annotations

    @property
    def label_studio(self) -> "LabelStudio":
        """The Label Studio in which people answer."""
        return self._loop.label_studio

    def collect(self, version: str | None = None) -> int:
        """Choose what people are asked next; how many pictures are asked that were not before."""
        return self._loop.collect(version)

    def watch(
        self,
        tell: "Callable[[Event], None]" = lambda event: None,
        listening: Listening = lambda: nullcontext(Silent()),
    ) -> "Watcher":
        """What runs the loop by itself, started by triggers.

        Args:
            tell: is told of every event.
            listening: gives what is told of a run.
        """
        return self._loop.watcher(tell, listening)

    # ---- inside -----------------------------------------------------------------------------

    def _who_answers(self, url: str | None, version: str | None, on: str) -> str:
        if url is not None:
            # httpx is no part of the other verbs.
            from pixloop.serving.client import Client

            with Client(url) as client:
                return f"{client.ping()} at {url}"
        return f"{self.config.model_name}:{self.bundle(version)[0]}" if on == "here" else on

    def _run_on_sagemaker(self, listener: Listener | None, tune: bool) -> RunSummary:
        # boto3 is an extra, and takes long to import.
        from pixloop.aws.pipeline.inputs import stays_on_s3

        self.on_aws.session.account()  # without credentials all the rest would be in vain
        check_early(self.config)
        train, test = self._sources.fetch(stays_on_s3)
        try:
            return self.on_aws.run(train, test, self._sources.weights(), tune, listener)
        except GateRefused as e:
            raise GateRefused(f"{e}\nThe report says why: {self.report()}") from e

    def _annotated(self) -> Path | None:
        folder = self.state / ANNOTATIONS
        return folder if next(folder.glob("*.json"), None) else None

    def _check_early(self, first_step: str) -> None:
        # Train refuses the same; where it comes first that is soon, and the check takes seconds.
        if first_step in ("Inspect", "Prepare"):
            asked_processes()
            check_early(self.config)


def _as_uri(place: str | Path | None) -> str | None:
    return place.as_uri() if isinstance(place, Path) else place
