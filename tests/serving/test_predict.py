"""``pixloop predict`` with a detector, here and over HTTP, and its drawings."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from PIL import Image
from typer.testing import CliRunner, Result

from pixloop.bundle import Bundle
from pixloop.cli.app import app
from pixloop.config import ServingConfig
from pixloop.errors import DataError
from pixloop.project import Project
from pixloop.serving.app import build_app
from pixloop.serving.detector import Detector
from pixloop.serving.predictor import open_predictor
from pixloop.serving.server import _listen

Make = Callable[..., bytes]
RED, GREEN = (255, 0, 0), (0, 204, 0)


@pytest.fixture
def pictures(make_scene: Make, tmp_path: Path) -> dict[str, Path]:
    """Picture files: two things, one that is referred, nothing, and a broken one."""
    content = {
        "two.jpg": make_scene(
            (RED, (20, 40, 60, 90)), (GREEN, (70, 40, 100, 90)), format_="JPEG", quality=95
        ),
        "sub/two.jpg": make_scene((GREEN, (70, 40, 100, 90)), format_="JPEG"),
        "none.png": make_scene(),
        "broken.png": b"nonsense",
    }
    for name, data in content.items():
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / name).write_bytes(data)
    return {name: tmp_path / "pictures" / name for name in content}


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[[Bundle], Project]:
    """A project that serves a bundle, as the note in its state says."""

    def make(bundle: Bundle) -> Project:
        data = tmp_path / "data"
        data.mkdir()
        project = Project.init(tmp_path / "project", str(data), bundle.manifest.task)
        registry = project.state / "registry" / "registry.db"
        registry.parent.mkdir(parents=True)
        registry.touch()
        stat = registry.stat()
        note = {
            "version": "1",
            "bundle": str(bundle.path),
            "registry": [stat.st_mtime_ns, stat.st_size],
        }
        (project.state / "serving.json").write_text(json.dumps(note))
        return project

    return make


@pytest.fixture
def project(make_project: Callable[[Bundle], Project], detector_bundle: Bundle) -> Project:
    return make_project(detector_bundle)


@pytest.fixture(scope="module")
def url(detector: Detector) -> Iterator[str]:
    with _listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(
            build_app(detector, "things:1", ServingConfig()), lifespan="off", log_level="warning"
        )
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def predict(project: Project, *arguments: object) -> Result:
    command = ["predict", "-C", str(project.folder), *map(str, arguments)]
    return CliRunner().invoke(app, command)


def reddest(path: Path) -> tuple[int, int, int]:
    """The colour in a drawing at the middle of where the red thing was."""
    with Image.open(path) as image:
        pixel: tuple[int, int, int] = image.convert("RGB").getpixel((40, 70))
    return pixel


def test_a_line_a_picture_says_what_is_in_it(project: Project, pictures: dict[str, Path]) -> None:
    result = predict(project, *pictures.values())
    assert result.exit_code == 1  # one has no answer
    lines = [line.rpartition("/")[2] for line in result.stdout.splitlines()]
    assert lines == [
        "two.jpg  1 × red, 1 × green  (1 referred)",
        "two.jpg  1 × green  (1 referred)",
        "none.png  nothing found",
    ]
    assert "broken.png" in result.stderr


@pytest.mark.parametrize("where", ["here", "over http"])
def test_json_gives_the_boxes(
    project: Project, pictures: dict[str, Path], request: pytest.FixtureRequest, where: str
) -> None:
    remote = ["--url", request.getfixturevalue("url")] if where == "over http" else []
    result = predict(project, pictures["two.jpg"], pictures["none.png"], "--json", *remote)
    assert result.exit_code == 0
    two, none = json.loads(result.stdout)["predictions"]
    assert (two["width"], two["height"]) == (128, 96)
    assert two["label"] is two["probabilities"] is two["error"] is two["drawing"] is None
    red, green = two["boxes"]
    assert (red["label"], red["decision"]) == ("red", "accept")
    assert red["xyxy"] == pytest.approx([20, 40, 60, 90], abs=4)
    assert (green["label"], green["decision"]) == ("green", "refer")
    assert none["boxes"] == []


@pytest.mark.parametrize("where", ["here", "over http"])
def test_pictures_are_drawn_into_a_folder(
    project: Project,
    pictures: dict[str, Path],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    where: str,
) -> None:
    address = request.getfixturevalue("url") if where == "over http" else None
    folder = tmp_path / "a" / "b"
    answers = list(project.predict(pictures.values(), address, draw=folder))
    drawn = [answer.drawing and Path(answer.drawing).name for answer in answers]
    assert drawn == ["two.jpg", "two-2.jpg", "none.png", None]
    assert {path.name for path in folder.iterdir()} == {"two.jpg", "two-2.jpg", "none.png"}
    with Image.open(folder / "two.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (128, 96))
    # The thing itself is still to be seen, and its edge is drawn over.
    assert reddest(folder / "two.jpg")[0] > 200
    with Image.open(folder / "two.jpg") as drawn_, Image.open(pictures["two.jpg"]) as source:
        assert drawn_.convert("RGB").getpixel((21, 70)) != source.convert("RGB").getpixel((21, 70))


def test_drawing_into_the_folder_of_the_pictures_loses_none(
    project: Project, pictures: dict[str, Path]
) -> None:
    before = {path: path.read_bytes() for path in pictures.values()}
    folder = pictures["two.jpg"].parent
    for _ in range(2):  # a second run replaces the drawings of the first
        answers = list(project.predict([pictures["two.jpg"], pictures["none.png"]], draw=folder))
        assert [Path(str(a.drawing)).name for a in answers] == ["two-2.jpg", "none-2.png"]
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_that_cannot_be_made_is_said_so(
    project: Project, pictures: dict[str, Path]
) -> None:
    with pytest.raises(DataError, match=r"none\.png is no folder to draw into"):
        list(project.predict([pictures["two.jpg"]], draw=pictures["none.png"]))


def test_a_classifiers_pictures_are_drawn_too(
    make_project: Callable[[Bundle], Project],
    bundle: Bundle,
    pictures: dict[str, Path],
    tmp_path: Path,
) -> None:
    project = make_project(bundle)
    (answer,) = project.predict([pictures["two.jpg"]], draw=tmp_path / "drawn")
    assert (
        answer.label == open_predictor(bundle).predict([pictures["two.jpg"].read_bytes()])[0].label
    )
    assert answer.boxes is answer.width is None
    with Image.open(tmp_path / "drawn" / "two.jpg") as image:
        assert image.size == (128, 96)
