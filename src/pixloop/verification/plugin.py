"""What ``pixloop verify`` gives to pytest: fixtures for the tests, and an ear for their results."""

from pathlib import Path
from typing import Any

import pytest

from pixloop.certificate import Certificate, CertifiedPicture
from pixloop.verification.deployment import Deployment
from pixloop.verification.result import Failure


class VerificationPlugin:
    """One run's deployment and certificate, and what came of its tests."""

    def __init__(self, deployment: Deployment, certificate: Certificate) -> None:
        self._deployment, self._certificate = deployment, certificate
        self.passed = self.skipped = 0
        self.failed: list[Failure] = []

    @pytest.fixture(scope="session")
    def deployment(self) -> Deployment:
        """What is verified: ``.ask(picture)`` gives the server's JSON, ``.name`` its name."""
        return self._deployment

    @pytest.fixture(scope="session")
    def certificate(self) -> Certificate:
        """What it is held against: ``.pictures`` with their right answers, and tolerances."""
        return self._certificate

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test that takes ``certified_picture`` runs once for each."""
        if "certified_picture" in metafunc.fixturenames:
            pictures = self._certificate.pictures
            metafunc.parametrize("certified_picture", pictures, ids=[_id(p) for p in pictures])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what passed, keep what did not."""
        if report.failed:
            self.failed.append(Failure(_test_name(report.nodeid), _reason(report)))
        elif report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot even be read as tests has failed too."""
        if report.failed:
            self.failed.append(Failure(_test_name(report.nodeid), _reason(report)))


def _id(picture: CertifiedPicture) -> str:
    return f"{picture.number}-{picture.path}"


def _test_name(node: str) -> str:
    file, separator, test = node.partition("::")
    return f"{Path(file).name}{separator}{test}"


def _reason(report: Any) -> str:
    """The message alone where there is one, without the trace to it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longreprtext).strip()
