"""A project's verbs on Rekognition: what ``Project.rekognition`` gives."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pixloop.acceptance import Acceptance
from pixloop.aws.cost.prices import read_prices
from pixloop.aws.names import Names
from pixloop.aws.rekognition.answers import LARGEST_PICTURE_BYTES, UNREADABLE, ask_rekognition
from pixloop.aws.rekognition.evaluation import calibrate, read_evaluation
from pixloop.aws.rekognition.versions import OnStatus, Rekognition, RekognitionVersion
from pixloop.aws.resources import find_outputs, find_resources
from pixloop.aws.session import Session, translated
from pixloop.bundle import Threshold
from pixloop.config import Config
from pixloop.data.dataset import MANIFEST
from pixloop.errors import AwsError, ImageError
from pixloop.files import write_json
from pixloop.pipeline.runs import list_runs
from pixloop.run_summary import output_of


class Trained(BaseModel):
    """What a training brought."""

    model_config = ConfigDict(frozen=True)

    version: str
    metrics: dict[str, float]  #: of the test pictures, as in evaluation.json
    evaluation: str  #: the file
    left_out: dict[str, int]  #: reason → pictures that Rekognition does not take


class RekognitionProject:
    """One project's versions on Rekognition, with what is noted of them below ``.pixloop``."""

    def __init__(self, session: Session, config: Config, state: Path, poll_s: float = 30.0) -> None:
        self._session, self._config, self._state, self._poll_s = session, config, state, poll_s

    def train(self, on_status: OnStatus) -> Trained:
        """Train on the data set of the last run, wait, and note the metrics in our form."""
        trained, written = self._versions.train(self._dataset(), on_status)
        evaluation = read_evaluation(self._session, trained)
        file = self._noted(trained.name, "evaluation.json")
        write_json(file, evaluation)
        return Trained(
            version=trained.name,
            metrics=evaluation["pixloop"]["metrics"],
            evaluation=str(file),
            left_out=dict(written.left_out),
        )

    def start(self, version: str, hours: float, on_status: OnStatus) -> dict[str, Any]:
        """Start a version, with its stop scheduled, and choose its threshold where it has none.

        Returns:
            ``version``, ``arn``, ``threshold``, the least score of all classes that have none of
            their own, None where nothing of them can be accepted, and the ``classes`` that have.
        """
        outputs = find_outputs(self._session, Names(self._config.name).learning_stack) or {}
        role = outputs.get("StopRoleArn")
        if not role:
            raise AwsError(
                "There is no role that could stop the version again: 'pixloop aws deploy' makes "
                "one. Without it nothing is started."
            )
        running = self._versions.start(version, hours, role, on_status)
        file = self._noted(running.name, "threshold.json")
        if not file.exists() and self._config.task == "classification":
            write_json(file, self._choose_threshold(running).model_dump())
        acceptance = self._acceptance(running.name)
        return {
            "version": running.name,
            "arn": running.arn,
            "threshold": acceptance.score,
            "classes": dict(acceptance.classes),
        }

    def stop(self, version: str = "latest") -> RekognitionVersion:
        """Stop a version."""
        return self._versions.stop(version)

    def list(self) -> Sequence[RekognitionVersion]:
        """Every version, the newest first."""
        return self._versions.list()

    def price_per_hour(self) -> float | None:
        """What a running version costs by the hour, in the price table's currency."""
        return read_prices().services.rekognition_inference_hour

    def ask(self, picture: bytes) -> Mapping[str, Any]:
        """The running version's answer to one picture, in the server's form.

        Raises:
            AwsError: no version runs.
            ImageError: the picture is none that Rekognition takes.
        """
        running = [each for each in self._running if each.status == "RUNNING"]
        if not running:
            raise AwsError("No version runs. 'pixloop aws rekognition start' starts one.")
        if len(picture) > LARGEST_PICTURE_BYTES:
            raise ImageError(f"it is larger than {LARGEST_PICTURE_BYTES >> 20} MiB")
        return self._ask(running[0], picture, self._acceptance(running[0].name))

    # ---- inside

    @property
    def _versions(self) -> Rekognition:
        bucket = find_resources(self._session, self._config).need("bucket")[0]
        return Rekognition(self._session, self._config.name, bucket, self._poll_s)

    @cached_property
    def _running(self) -> Sequence[RekognitionVersion]:
        return self.list()  # once for many pictures

    def _ask(
        self, version: RekognitionVersion, picture: bytes, acceptance: Acceptance
    ) -> dict[str, Any]:
        client = self._session.client("rekognition")
        try:
            with translated("asking Rekognition"):
                return ask_rekognition(
                    client,
                    version.arn,
                    picture,
                    model=f"{self._config.name}:{version.name}",
                    acceptance=acceptance,
                )
        except ValueError as e:
            raise ImageError(str(e)) from e
        except AwsError as e:
            if any(code in str(e) for code in UNREADABLE):
                raise ImageError(str(e)) from e
            raise

    def _choose_threshold(self, version: RekognitionVersion) -> Threshold:
        def ask(picture: bytes) -> dict[str, Any]:
            return dict(self._ask(version, picture, Acceptance())["predictions"][0])

        return calibrate(ask, self._dataset(), self._config.thresholds)

    def _acceptance(self, version: str) -> Acceptance:
        try:
            noted = json.loads(self._noted(version, "threshold.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Acceptance()
        return Acceptance.of(noted)

    def _noted(self, version: str, name: str) -> Path:
        return self._state / "rekognition" / version / name

    def _dataset(self) -> Path:
        for run in list_runs(self._state):
            folder = output_of(run, "Prepare", "dataset").resolve()
            if (folder / MANIFEST).is_file():
                return folder
        raise AwsError("There is no prepared data set yet. 'pixloop run' prepares one.")
