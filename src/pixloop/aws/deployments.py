"""What serves on AWS: deployed, asked, verified, rolled back."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pixloop.aws.answering.asking import NotAnswered
from pixloop.aws.deployment.function import read_url
from pixloop.aws.deployment.settle import deploy, roll_back, verify_and_settle
from pixloop.aws.deployment.target import Deployed, ModelSource, Settled, Target, read_package
from pixloop.aws.deployment.transform import TransformResult, start_transform, wait_for_transform
from pixloop.aws.deployment.verify import open_target, verify
from pixloop.aws.infrastructure.parameters import Place, make_target
from pixloop.aws.pipeline.model_packages import PackageRegistry
from pixloop.aws.resources import Resources, find_resources
from pixloop.aws.session import Session, translated
from pixloop.aws.uploads import upload_file
from pixloop.bundle import ARCHIVE, MANIFEST, Bundle
from pixloop.errors import AwsError, ImageError, VerificationError
from pixloop.files import pack, sha256_file
from pixloop.verification.deployment import AnswerRefused
from pixloop.verification.result import VerificationResult

To = Literal["endpoint", "serverless", "async", "function"]
RegistryPlace = Literal["sagemaker", "here"]
#: Called with a line for each thing that happens.
Progress = Callable[[str], None]


class Deployments:
    """The deployments of one project."""

    def __init__(
        self,
        place: Place,
        session: Session,
        registry: PackageRegistry,
        state: Path,
        find_bundle: Callable[[str], tuple[str, Bundle]],
    ) -> None:
        """Use ``AwsProject.deployments``."""
        self._place, self._session, self._registry = place, session, registry
        self._state, self._find_bundle = state, find_bundle
        self._config = place.config

    def deploy(
        self,
        to: To,
        version: str,
        on_progress: Progress,
        registry: RegistryPlace = "sagemaker",
    ) -> Settled:
        """Deploy a version, wait, ask it the pictures of its certificate, keep it or go back.

        Args:
            to: where it serves.
            version: a number, ``"latest"`` or ``"champion"``.
            on_progress: told each step.
            registry: whose version it is: SageMaker's, or the one here.

        Raises:
            VerificationError: it does not answer as certified; what served before serves again.
        """
        target, source = self.target(to), self._source(version, registry)
        with translated(f"deploying {source.name}"):
            deployed = deploy(self._session, target, source, on_progress)
            on_progress(f"asking {target.name} the pictures of its certificate")
            settled = verify_and_settle(self._session, target, _function_version(target, deployed))
        if settled is None:
            raise AwsError(f"{target.name} is not in service; 'pixloop aws status' says more.")
        if not settled.ok:
            now = f"{settled.serves} serves" if settled.serves else "nothing serves"
            raise VerificationError(
                "\n".join(
                    [
                        f"{settled.model} does not answer as its certificate says; {now} now.",
                        *settled.differences,
                    ]
                )
            )
        return settled

    def _source(self, version: str, registry: RegistryPlace) -> ModelSource:
        return self._package(version) if registry == "sagemaker" else self._upload(version)

    def _package(self, version: str) -> ModelSource:
        """A version of SageMaker's registry, on the image that is the project's now."""
        arn = self._registry.arn(self._registry.show(version).version)
        with translated(f"version {version}"):
            return read_package(self._session, self.target("endpoint"), arn)

    def _upload(self, version: str) -> ModelSource:
        """A version of the registry here, brought to S3 under the hash of its content."""
        number, bundle = self._find_bundle(version)
        bucket, image = self._resources().need("bucket", "image")
        identity = sha256_file(bundle.path / MANIFEST)[:16]
        archive = self._state / "archives" / identity / ARCHIVE
        if not archive.exists():
            pack(bundle.path, archive)
        address = f"s3://{bucket}/{self._config.name}/from-here/{identity}/{ARCHIVE}"
        upload_file(self._session, archive, address)
        return ModelSource(f"{self._config.name}:here-{number}", image, address)

    def transform(
        self,
        pictures: str,
        answers: str | None,
        version: str,
        on_progress: Progress,
        registry: RegistryPlace = "sagemaker",
    ) -> TransformResult:
        """Answer every picture below an S3 address, by a batch transform job."""
        source = self._source(version, registry)
        answers = answers or f"s3://{self._resources().need('pictures_bucket')[0]}/batch/"
        with translated(f"answering {pictures}"):
            job = start_transform(self._session, self.target("endpoint"), source, pictures, answers)
            on_progress(f"started {job}")
            return wait_for_transform(self._session, job, on_progress)

    def roll_back(self, to: To, reason: str, on_progress: Progress) -> str:
        """Go back to the version that served before; the name of the model that serves then."""
        with translated("rolling back"):
            return roll_back(self._session, self.target(to), reason, on_progress)

    def function_url(self) -> str | None:
        """Where the Lambda server answers requests that are signed for AWS."""
        with translated("the function's URL"):
            return read_url(self._session, self.target("function"))

    def verify(self, to: To, own_tests: Path | None, verbose: bool) -> VerificationResult:
        """Test what serves now by its certificate and the project's own tests."""
        with translated(f"verifying the {to}"):
            return verify(self._session, self.target(to), own_tests, verbose)

    def asker(self, on: Literal["sagemaker", "lambda"]) -> Callable[[bytes], Mapping[str, Any]]:
        """How to ask what serves about one picture; it raises ``ImageError`` for a bad one."""
        deployment = open_target(
            self._session, self.target("function" if on == "lambda" else "endpoint"), None
        )

        def ask(picture: bytes) -> Mapping[str, Any]:
            try:
                with translated(f"asking {deployment.name}"):
                    return deployment.ask(picture)
            except AnswerRefused as e:
                raise ImageError(str(e)) from e
            except NotAnswered as e:
                raise AwsError(str(e)) from e

        return ask

    def target(self, to: To) -> Target:
        """What a kind of deployment is for this project."""
        resources = self._resources()
        resources.need("bucket", "role", "function_role" if to == "function" else "role")
        return make_target(self._place, to, resources.key_arn or "")

    def _resources(self) -> Resources:
        return find_resources(self._session, self._config)


def _function_version(target: Target, deployed: Deployed) -> str | None:
    """A function's new version is verified by its number: the alias moves afterwards."""
    return deployed.version if target.to == "function" else None
