import builtins
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.certified_bundles import rewrite
from tests.verification.conftest import deploy_here

from pixloop.bundle import Bundle
from pixloop.errors import AwsError, BundleError, VerificationError
from pixloop.verification.deployment import Deployment
from pixloop.verification.run import run_suite


def test_a_deployment_that_answers_as_certified_passes(
    bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run_suite(deploy_here(bundle, "test:1"), bundle.path)
    pictures = 6 if bundle.manifest.task == "classification" else 3
    assert (result.ok, result.passed, result.failed) == (True, 3 + pictures, ())
    assert result.to_json()["ok"] is True
    assert str(result) == f"here answers as certified: {3 + pictures} passed, 0 failed."
    assert capfd.readouterr().out == ""


def test_a_wrong_deployment_fails_in_words(classifier_bundle: Bundle, tmp_path: Path) -> None:
    deployed = rewrite(classifier_bundle, tmp_path, temperature=3.0)
    result = run_suite(deploy_here(deployed, "test:2"), classifier_bundle.path)
    assert not result.ok
    tests = [failure.test for failure in result.failed]
    assert "deployment.py::test_it_serves_the_right_model" in tests
    assert "deployment.py::test_it_answers_as_certified[1-test/0000.png]" in tests
    assert "picture 1 (test/0000.png): probability of 'red' is" in str(result)
    assert "does not answer as certified" in str(result)


def test_a_deployment_that_is_not_ready_or_answers_nonsense_fails(
    classifier_bundle: Bundle,
) -> None:
    def ask(picture: bytes) -> dict[str, Any]:
        return {"message": "hello"}

    result = run_suite(Deployment("x", ask, lambda: "still asleep"), classifier_bundle.path)
    assert result.passed == 0
    assert "x is not ready: still asleep." in str(result)
    assert "a broken picture got an answer" in str(result)


def test_the_environment_is_as_it_was_afterwards(
    classifier_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    assert run_suite(deploy_here(classifier_bundle), classifier_bundle.path).ok
    assert os.environ["PYTEST_ADDOPTS"] == "--no-such-option"
    assert "PYTEST_DISABLE_PLUGIN_AUTOLOAD" not in os.environ


def test_what_a_deployment_raises_is_a_failure(classifier_bundle: Bundle) -> None:
    def ask(picture: bytes) -> dict[str, Any]:
        raise VerificationError("no answer from there.")

    result = run_suite(Deployment("x", ask, lambda: None), classifier_bundle.path)
    assert {f.message for f in result.failed} == {
        "pixloop.errors.VerificationError: no answer from there."
    }


OWN_TESTS = """
def test_red(deployment, red, certificate):
    assert deployment.ask(red)["predictions"][0]["label"] == "red"
    print("not on standard output")

def test_every_picture(deployment, certified_picture):
    assert deployment.name == "here"

def test_wrong(deployment):
    assert deployment.name == "there"
"""
OWN_FIXTURES = """
import pytest

@pytest.fixture
def red(certificate):
    return certificate.pictures[0].content
"""


def test_the_projects_own_tests_run_too(
    classifier_bundle: Bundle, own_tests: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (own_tests / "test_ours.py").write_text(OWN_TESTS)
    (own_tests / "conftest.py").write_text(OWN_FIXTURES)
    result = run_suite(deploy_here(classifier_bundle), classifier_bundle.path, own_tests)
    assert result.passed == 9 + 1 + 6
    (failure,) = result.failed
    assert failure.test == "test_ours.py::test_wrong"
    assert "assert 'here' == 'there'" in failure.message
    assert capfd.readouterr().out == ""
    assert sorted(p.name for p in own_tests.parent.rglob("*")) == [
        "conftest.py",
        "test_ours.py",
        "verify",
    ]
    # Changed tests count the next time.
    (own_tests / "test_ours.py").write_text(OWN_TESTS.replace('"there"', '"here"'))
    assert run_suite(deploy_here(classifier_bundle), classifier_bundle.path, own_tests).ok


def test_a_test_file_that_cannot_be_read_is_a_failure(
    classifier_bundle: Bundle, own_tests: Path
) -> None:
    (own_tests / "test_ours.py").write_text("import no_such_module\n")
    result = run_suite(deploy_here(classifier_bundle), classifier_bundle.path, own_tests)
    assert not result.ok
    assert "no_such_module" in str(result)
    (own_tests / "conftest.py").write_text("1 / 0\n")
    with pytest.raises(VerificationError, match=r"conftest\.py cannot be read: ZeroDivision"):
        run_suite(deploy_here(classifier_bundle), classifier_bundle.path, own_tests)


def test_a_bundle_without_certificate_is_said(classifier_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        run_suite(deploy_here(classifier_bundle), tmp_path)


def test_without_pytest_the_message_says_what_to_install(
    classifier_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pytest":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    deployment = Deployment("x", lambda _: {}, lambda: None)
    with pytest.raises(AwsError, match=r"pip install 'pixloop\[aws\]'"):
        run_suite(deployment, classifier_bundle.path)


SCRIPT = """
import sys
from pathlib import Path
from pixloop.verification.deployment import Deployment
from pixloop.verification.run import run_suite
result = run_suite(Deployment("x", lambda _: {}, lambda: None), Path(sys.argv[1]), Path("verify"))
print(result.passed, len(result.failed))
"""


def test_surroundings_change_nothing(classifier_bundle: Bundle, own_tests: Path) -> None:
    project = own_tests.parent
    (own_tests / "test_ours.py").write_text("def test_ours(): pass\n")
    for place in (project, project.parent):
        (place / "conftest.py").write_text("raise SystemExit('read a conftest.py')\n")
        (place / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    environment = {**os.environ, "PYTEST_ADDOPTS": "--nor-this", "PYTEST_PLUGINS": "no_such"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(classifier_bundle.path)],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    # Ready, and our own; what asks fails.
    assert (done.stdout, done.stderr) == ("2 8\n", "")
    assert not list(project.rglob(".pytest_cache"))
    assert not list(own_tests.rglob("__pycache__"))
