"""Deployments of real bundles, asked as a server would be, without HTTP."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixloop.bundle import Bundle
from pixloop.errors import ImageError
from pixloop.serving.codec import decode_request, encode_answer
from pixloop.serving.predictor import open_predictor
from pixloop.verification.deployment import AnswerRefused, Deployment

Ask = Callable[[bytes], dict[str, Any]]


def serve_here(bundle: Bundle, name: str = "test:1") -> Ask:
    """What the server of a bundle answers, as JSON."""
    predictor = open_predictor(bundle)

    def ask(picture: bytes) -> dict[str, Any]:
        request = decode_request(picture, "application/x-image")
        try:
            body, _ = encode_answer(request, predictor.predict(request.pictures), name)
        except ImageError as e:
            raise AnswerRefused(f"422: {e}") from e
        answer: dict[str, Any] = json.loads(body)
        return answer

    return ask


def deploy_here(bundle: Bundle, model: str | None = None) -> Deployment:
    return Deployment("here", serve_here(bundle), lambda: None, model)


@pytest.fixture
def own_tests(tmp_path: Path) -> Path:
    folder = tmp_path / "project" / "verify"
    folder.mkdir(parents=True)
    return folder
