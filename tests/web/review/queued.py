"""A review queue with pictures, and a model whose classes are answered by, without a training."""

import pytest
from tests.annotation.waiting import CLASSES, candidate

from pixloop.acceptance import Acceptance
from pixloop.bundle import Task
from pixloop.web.review import labelling as review_labelling
from pixloop.web.review import page as review
from pixloop.web.review.items import AskedModel
from pixloop.web.site import Site


def pretend_model(
    monkeypatch: pytest.MonkeyPatch,
    task: Task = "classification",
    classes: tuple[str, ...] = CLASSES,
) -> AskedModel:
    """Let the page believe in a model that is sure from 93 % on."""
    model = AskedModel("pets:1", task, classes, Acceptance(0.93))
    for module in (review, review_labelling):
        monkeypatch.setattr(module, "asked_model", lambda site: model)
    return model


def ask(site: Site, count: int = 3, waiting: int = 0, **changes: object) -> list[str]:
    """Ask ``count`` pictures and let others wait; the SHA-256 of those that are asked, in order."""
    queue = site.project.review
    queue.offer(candidate(n, **changes) for n in range(count))
    asked = [item.sha256 for item in queue.choose(count, 0.0)]
    queue.offer(candidate(n) for n in range(count, count + waiting))
    return asked
