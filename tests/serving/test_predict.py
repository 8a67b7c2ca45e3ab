"""``pixloop predict`` with a detector, here and over HTTP, its drawings and its files."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse
from tests.serving.in_thread import serving
from typer.testing import CliRunner, Result

from pixloop.bundle import Bundle
from pixloop.cli.app import app
from pixloop.config import ServingConfig
from pixloop.errors import DataError, PixloopError, ServingError
from pixloop.project import Project
from pixloop.serving.app import build_app
from pixloop.serving.codec import decode_request
from pixloop.serving.detector import Detector
from pixloop.serving.predictor import open_predictor

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
def project(make_project: Callable[[Bundle], Project], detector_bundle: Bundle) -> Project:
    return make_project(detector_bundle)


@pytest.fixture(scope="module")
def url(detector: Detector) -> Iterator[str]:
    with serving(build_app(detector, "things:1", ServingConfig())) as address:
        yield address


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


def lines_of(result: Result) -> list[str]:
    return [line.rpartition("/")[2] for line in result.stdout.splitlines()]


@pytest.mark.parametrize("where", ["here", "over http"])
def test_a_folder_is_predicted_with_all_below_it(
    project: Project, pictures: dict[str, Path], request: pytest.FixtureRequest, where: str
) -> None:
    remote = ["--url", request.getfixturevalue("url")] if where == "over http" else []
    folder = pictures["two.jpg"].parent
    result = predict(project, folder, *remote)
    assert result.exit_code == 1
    assert lines_of(result) == [
        "none.png  nothing found",
        "two.jpg  1 × green  (1 referred)",
        "two.jpg  1 × red, 1 × green  (1 referred)",
    ]
    assert result.stderr.count("broken.png") == 1
    assert "1 of 4 pictures have no prediction" in result.stderr


@pytest.mark.parametrize("where", ["here", "over http"])
def test_answers_go_into_a_file_and_a_summary_to_the_terminal(
    project: Project,
    pictures: dict[str, Path],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    where: str,
) -> None:
    remote = ["--url", request.getfixturevalue("url")] if where == "over http" else []
    folder, target = pictures["two.jpg"].parent, tmp_path / "answers.jsonl"
    result = predict(project, folder, "--output", target, *remote)
    assert result.exit_code == 1
    summary = " ".join(result.stdout.split())
    assert summary.startswith("4 pictures → ")
    assert summary.endswith("1 accepted, 2 referred, 1 without a prediction 2 green 1 red")
    answers = [json.loads(line) for line in target.read_text().splitlines()]
    names = [Path(answer["path"]).relative_to(folder).as_posix() for answer in answers]
    assert names == ["broken.png", "none.png", "sub/two.jpg", "two.jpg"]
    assert [len(answer.get("boxes", ())) for answer in answers] == [0, 0, 1, 2]
    assert "error" in answers[0]

    result = predict(project, folder, "--output", target, *remote, "--json")
    assert json.loads(result.stdout)["classes"] == {"green": 2, "red": 1}


def test_json_of_many_is_one_object_like_that_of_few(
    project: Project, pictures: dict[str, Path]
) -> None:
    result = predict(project, *[pictures["two.jpg"]] * 3, pictures["broken.png"], "--json")
    found = json.loads(result.stdout)
    assert [answer["error"] is None for answer in found["predictions"]] == [True] * 3 + [False]
    assert result.stdout == json.dumps(found, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}"], "there are no pictures in"),
        (["{empty}", "--output", "{empty}/a.csv"], "there are no pictures in"),
        (["{picture}", "--output", "a.xlsx"], "must end in .jsonl, .csv, .parquet"),
        (["{picture}", "--url", "http://127.0.0.1:1", "--output", "{empty}/a.csv"], "no answer"),
        (["{picture}", "--url", "http://127.0.0.1:1", "--version", "1"], "--version is for"),
    ],
)
def test_what_cannot_be_predicted_is_an_error(
    project: Project,
    pictures: dict[str, Path],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    known = {"empty": tmp_path / "empty", "picture": pictures["two.jpg"]}
    result = predict(project, *(each.format(**known) for each in arguments))
    assert isinstance(result.exception, PixloopError)
    assert message in str(result.exception)
    assert list((tmp_path / "empty").iterdir()) == []


def test_what_is_not_there_is_an_error_of_its_own(project: Project, tmp_path: Path) -> None:
    result = predict(project, tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "nowhere: the file cannot be read: No such file or directory" in result.stderr


def test_a_server_that_goes_away_leaves_what_it_answered(
    project: Project, pictures: dict[str, Path], tmp_path: Path
) -> None:
    known = {"boxes": [], "width": 1, "height": 1}
    last = pictures["none.png"].read_bytes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        if scope["path"] == "/ping":
            response = JSONResponse({"model": "things:1"})
        else:
            asked = decode_request(await request.body(), request.headers["content-type"])
            answers = {"predictions": [known] * len(asked.pictures)}
            gone = last in asked.pictures
            response = JSONResponse({}, 500) if gone else JSONResponse(answers)
        await response(scope, receive, send)

    target = tmp_path / "answers.csv"
    with serving(app) as url:
        many = [pictures["two.jpg"]] * 32 + [pictures["none.png"]] * 100
        result = predict(project, *many, "--url", url, "--output", target)
    assert isinstance(result.exception, ServingError)
    assert "the same command goes on" in " ".join(result.stderr.split())
    assert not target.exists()
    assert len((tmp_path / "answers.csv.part").read_text().splitlines()) == 1 + 32


@pytest.mark.integration
def test_a_kill_loses_nothing(
    project: Project, make_scene: Make, detector: Detector, tmp_path: Path
) -> None:
    (tmp_path / "many").mkdir()
    for i in range(300):
        scene = make_scene(((204, 0, 0), (i % 60, 10, i % 60 + 40, 50)))
        (tmp_path / "many" / f"{i:03}.png").write_bytes(scene)
    target, part = tmp_path / "answers.jsonl", tmp_path / "answers.jsonl.part"

    class Slow:
        """The application, for which every request takes a while."""

        def __init__(self) -> None:
            self._app = build_app(detector, "things:1", ServingConfig())

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0.05)
            await self._app(scope, receive, send)

    with serving(Slow()) as url:
        command = [sys.executable, "-m", "pixloop", "predict", "-C", str(project.folder)]
        command += [str(tmp_path / "many"), "--url", url, "--output", str(target)]
        process = subprocess.Popen(command)
        while not part.exists() or part.read_bytes().count(b"\n") < 20:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert not target.exists()
        earlier = part.read_bytes().count(b"\n") - 1
        ended = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    summary = json.loads(ended.stdout)
    assert (summary["pictures"], summary["earlier"]) == (300, earlier)
    names = [Path(json.loads(line)["path"]).name for line in target.read_text().splitlines()]
    assert names == [f"{i:03}.png" for i in range(300)]
    assert not part.exists()
