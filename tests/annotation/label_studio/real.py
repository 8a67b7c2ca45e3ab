"""A real Label Studio with a real pixloop server behind it, for tests."""

import hashlib
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from pixloop.annotation.items import Candidate, Reason
from pixloop.annotation.label_studio import LabelStudio
from pixloop.annotation.label_studio.client import LabelStudioClient
from pixloop.annotation.label_studio.credentials import credentials
from pixloop.annotation.queue import ReviewQueue
from pixloop.bundle import Bundle
from pixloop.config_file import parse_config
from pixloop.data.annotations import AnnotationStore

COLOURS = {"red": (255, 0, 0), "green": (0, 204, 0), "blue": (0, 0, 160)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scene(number: int, orientation: int = 1) -> bytes:
    """A picture, 128 × 96 as it stands upright, with a red and a green thing."""
    image = Image.new("RGB", (128, 96), (0, 0, number % 7))
    image.paste(COLOURS["red"], (20, 40, 60, 90))
    image.paste(COLOURS["green"], (70, 40, 100, 90))
    image.putpixel((0, number % 96), (1, 1, 1 + number // 96))
    exif = Image.Exif()
    if orientation == 6:  # it is kept lying on its side
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = 6
    content = io.BytesIO()
    image.save(content, "PNG", exif=exif)
    return content.getvalue()


def candidate(picture: bytes, answer: dict[str, Any] | None = None) -> Candidate:
    return Candidate(
        sha256=hashlib.sha256(picture).hexdigest(),
        picture=picture,
        reasons=(Reason("unsure", "red 0.51, below 0.93", 0.5),),
        answer=answer or {},
        model="things:1",
        at="2026-11-27T00:00:00+00:00",
        origin={"event": "e:0"},
    )


class World:
    """A project's folder with its Label Studio, and a server that answers."""

    def __init__(self, folder: Path, **annotation: Any) -> None:
        self.folder = folder
        self.state = folder / ".pixloop"
        self.settings = {"port": free_port(), "backend_port": free_port(), **annotation}
        self.server_port = free_port()
        self.queue = ReviewQueue(self.state / "review")
        self.store = AnnotationStore(self.state / "annotations")
        self.studio = make_studio(folder, self.settings)
        self.server: subprocess.Popen[bytes] | None = None

    @property
    def server_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def serve(self, bundle: Bundle) -> None:
        command = [sys.executable, "-m", "pixloop.serving", str(bundle.path), "--name", "things:1"]
        self.server = subprocess.Popen(
            [*command, "--port", str(self.server_port)], stdout=subprocess.DEVNULL
        )
        for _ in range(300):
            try:
                if httpx.get(f"{self.server_url}/ping").is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise AssertionError("the server does not answer")

    def up(self) -> None:
        self.studio.up(server=self.server_url)

    def close(self) -> None:
        self.studio.down()
        if self.server is not None:
            self.server.terminate()
            self.server.wait()

    def ask(self, candidates: Iterable[Candidate]) -> list[str]:
        wanted = list(candidates)
        self.queue.offer(wanted)
        for each in wanted:
            self.queue.mark(each.sha256, "asked", "chosen")
        return [each.sha256 for each in wanted]

    def sync(self):
        return self.studio.sync(self.queue, self.store)

    def client(self) -> LabelStudioClient:
        token = credentials(self.studio.folder / "credentials.json").token
        url = self.studio.status().url
        assert url is not None
        return LabelStudioClient(url, token)

    def project(self) -> int:
        address = self.studio.status().project_url
        assert address is not None
        return int(address.split("/")[-2])

    def tasks(self) -> dict[str, dict[str, Any]]:
        """The tasks by their pictures; that there is one for each is asserted."""
        with self.client() as client:
            tasks = client.tasks(self.project())
        found = {task["meta"]["sha256"]: task for task in tasks}
        assert len(found) == len(tasks), "a picture has two tasks"
        return found

    def answer(self, sha256: str, result: list[dict[str, Any]]) -> int:
        task = self.tasks()[sha256]
        with self.client() as client:
            made = client.create(f"tasks/{task['id']}/annotations/", result=result)
        return int(made["id"])


def make_studio(folder: Path, settings: dict[str, Any], name: str = "things") -> LabelStudio:
    config = parse_config(
        {
            "task": "detection",
            "name": name,
            "data": {"train": str(folder)},
            "annotation": settings,
        },
        where="test",
    )
    return LabelStudio(config, folder / ".pixloop", lambda: tuple(COLOURS))


def sync_alone(folder: str, port: str, backend_port: str) -> None:
    """A sync as a process of its own, which can be killed."""
    state = Path(folder) / ".pixloop"
    settings = {"port": int(port), "backend_port": int(backend_port)}
    studio = make_studio(Path(folder), settings)
    print("begun", flush=True)
    studio.sync(ReviewQueue(state / "review"), AnnotationStore(state / "annotations"))


def start_sync(world: World) -> subprocess.Popen[bytes]:
    """A sync in another process, which has begun."""
    code = "import sys; from tests.annotation.label_studio.real import sync_alone; "
    code += "sync_alone(*sys.argv[1:])"
    ports = [str(world.settings[key]) for key in ("port", "backend_port")]
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(world.folder), *ports],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process
