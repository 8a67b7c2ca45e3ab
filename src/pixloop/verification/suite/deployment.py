"""What must hold of every deployment. ``pixloop verify`` runs it, and ``verify/test_*.py`` too."""

import pytest

from pixloop.certificate import Certificate, CertifiedPicture
from pixloop.comparison import compare
from pixloop.verification.deployment import AnswerRefused, Deployment


def test_it_is_ready(deployment: Deployment) -> None:
    """Its health check says that it may be asked."""
    problem = deployment.ping()
    if problem:
        pytest.fail(f"{deployment.name} is not ready: {problem}.", pytrace=False)


def test_it_serves_the_right_model(deployment: Deployment, certificate: Certificate) -> None:
    """Its answers name the version that was deployed, not one before it."""
    answer = deployment.ask(certificate.pictures[0].content)
    if not isinstance(answer.get("model"), str):
        pytest.fail(f"the answer names no model: {str(answer)[:200]}.", pytrace=False)
    if deployment.model is not None and answer["model"] != deployment.model:
        pytest.fail(
            f"the answers are of model {answer['model']!r}, not of {deployment.model!r}.",
            pytrace=False,
        )


def test_it_answers_as_certified(
    deployment: Deployment, certificate: Certificate, certified_picture: CertifiedPicture
) -> None:
    """One stored picture gets the answer that the trained model gives."""
    answer = deployment.ask(certified_picture.content)
    differences = compare(certificate, certified_picture, answer)
    if differences:
        pytest.fail("\n".join(differences), pytrace=False)


def test_it_refuses_what_is_no_picture(deployment: Deployment) -> None:
    """A broken picture is the client's fault: a 4xx, neither an answer nor a failure."""
    try:
        answer = deployment.ask(b"\x89PNG\r\n\x1a\n and no more")
    except AnswerRefused:
        return
    pytest.fail(f"a broken picture got an answer: {str(answer)[:200]}.", pytrace=False)
