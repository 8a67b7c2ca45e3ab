"""Fixtures that several rooms' tests share."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image
from tests.certified_bundles import write_boxes, write_classifier
from tests.without_studies import NO_STUDIES

from pixloop.bundle import Bundle
from pixloop.project import Project
from pixloop.run_summary import RunSummary

# A deadline is an assertion about time, which a busy machine does not keep.
settings.register_profile("pixloop", deadline=None)
settings.load_profile("pixloop")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real pictures and weights, where this machine has them; else the test is skipped."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PIXLOOP_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set PIXLOOP_TEST_DATA")
    return folder


#: A network and a few epochs that learn colours in seconds.
QUICK = {
    "model": {"name": "test_resnet", "pretrained": False, "image_size": 32},
    "training": {
        "epochs": 4,
        "batch_size": 16,
        "learning_rate": 0.003,
        "augmentations": [],
        "workers": 0,
    },
    "export": {"precisions": ["float32"]},
    "monitoring": {"odds_pictures": 0},
    **NO_STUDIES,
}


def write_colours(folder: Path, count: int = 60) -> Path:
    """Class folders of reddish and bluish noise, which any network tells apart."""
    random = np.random.default_rng(0)
    for name, colour in (("blue", (30, 70, 200)), ("red", (210, 60, 40))):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.clip(random.normal(colour, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def classifier_bundle(tmp_path_factory) -> Bundle:
    """A small classifier with a certificate."""
    return write_classifier(tmp_path_factory.mktemp("bundles") / "colours")


@pytest.fixture(scope="session")
def boxes_bundle(tmp_path_factory) -> Bundle:
    """A small detector with a certificate."""
    return write_boxes(tmp_path_factory.mktemp("bundles") / "things")


@pytest.fixture(scope="session", params=["classification", "detection"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """A small bundle with a certificate, of each task."""
    kind = "classifier" if request.param == "classification" else "boxes"
    found: Bundle = request.getfixturevalue(f"{kind}_bundle")
    return found


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Project, RunSummary]:
    """A project whose loop has run once. Tests that change the registry copy it first."""
    folder = tmp_path_factory.mktemp("projects") / "colours"
    pictures = write_colours(folder / "pictures")
    (pictures / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    project = Project.init(folder, str(pictures), settings=QUICK)
    return project, project.run()


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A copy of the finished project, to change at will."""
    folder = tmp_path / "colours"
    shutil.copytree(finished[0].folder, folder, symlinks=True)
    return Project.open(folder)
