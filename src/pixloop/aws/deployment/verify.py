"""``pixloop verify`` for what runs on AWS: the suite, asked through AWS's own API."""

from pathlib import Path
from typing import Any

from pixloop.aws.answering.asking import LIVE, PictureRefused
from pixloop.aws.deployment.champion import open_archive
from pixloop.aws.deployment.endpoint import read_endpoint, read_source
from pixloop.aws.deployment.function import read_function_source, read_live
from pixloop.aws.deployment.settle import ask_target
from pixloop.aws.deployment.target import Clients, ModelSource, Target
from pixloop.errors import AwsError
from pixloop.verification.deployment import AnswerRefused, Deployment
from pixloop.verification.result import VerificationResult
from pixloop.verification.run import run_suite


def verify(
    clients: Clients, target: Target, own_tests: Path | None = None, verbose: bool = False
) -> VerificationResult:
    """Run the verification suite against what a target serves now. It changes nothing.

    Args:
        clients: of AWS.
        target: what is asked; the bundle that it should serve is read from S3.
        own_tests: a folder of ``test_*.py``; see ``verification.run.run_suite``.
        verbose: let pytest print its own report.

    Raises:
        AwsError: nothing is deployed there, or pytest is missing.
        BundleError: the bundle has no certificate to verify by.
    """
    source = read_served(clients, target)
    deployment = open_target(clients, target, source.name)
    return run_suite(deployment, open_archive(clients, source), own_tests, verbose)


def read_served(clients: Clients, target: Target) -> ModelSource:
    """The model that a target serves now.

    Raises:
        AwsError: there is none.
    """
    if target.to == "function":
        if read_live(clients, target.name) is None:
            raise AwsError(f"there is no function {target.name} that serves; 'pixloop deploy'.")
        return read_function_source(clients, target.name)
    state = read_endpoint(clients, target.name)
    if state is None:
        raise AwsError(f"there is no endpoint {target.name}; 'pixloop deploy' makes one.")
    return read_source(clients, state.config)


def open_target(clients: Clients, target: Target, model: str | None) -> Deployment:
    """A target as the verification sees it."""
    ask_aws = ask_target(clients, target)

    def ask(picture: bytes) -> dict[str, Any]:
        try:
            return ask_aws(picture)
        except PictureRefused as e:
            raise AnswerRefused(str(e)) from e

    def ping() -> str | None:
        if target.to == "function":
            found = clients.client("lambda").get_function(FunctionName=target.name, Qualifier=LIVE)
            status, ready = found["Configuration"].get("State", "Active"), "Active"
        else:
            state = read_endpoint(clients, target.name)
            status, ready = state.status if state else "deleted", "InService"
        return None if status == ready else f"it is {status}, not {ready}"

    return Deployment(target.name, ask, ping, model)
