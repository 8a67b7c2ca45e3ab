"""``pixloop demo loop``: drift on real pictures, from the first model to its recovery.

Handwritten digits are learned and served. Then the camera that takes them gets dead pixels. The
monitor says so, the review queue chooses what to ask, people (a script, through Label Studio's own
API) answer, a new version is trained on what they say, shown to be better where it was meant to be,
and takes over while the server runs.
"""

import hashlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from PIL.Image import Resampling
from pydantic import BaseModel, ConfigDict

from pixloop.annotation.label_studio.interface import CONTROL, IMAGE
from pixloop.annotation.label_studio.marks import read_mark
from pixloop.bundle import now
from pixloop.data.annotations import Annotation
from pixloop.data.corruptions import corrupt
from pixloop.data.samples import read_digits
from pixloop.decoding import RgbArray
from pixloop.errors import ConfigError, ServingError
from pixloop.files import atomic_path
from pixloop.pipeline.display import Listener, Silent
from pixloop.project import Project
from pixloop.records import Decision, Prediction
from pixloop.serving.client import Client
from pixloop.watching.events import Event

if TYPE_CHECKING:
    from pixloop.annotation.label_studio.client import LabelStudioClient
    from pixloop.monitoring.look import Look

PICTURES = "pictures"
_CORRUPTION, _SEVERITY = "impulse_noise", 5
#: Scanned with 8 × 8 pixels; a corruption needs more to act on.
_SIDE_PX = 48
_LEARNED, _CLEAN, _BEFORE = 900, 250, 400
_SETTINGS: dict[str, dict[str, Any]] = {
    "data": {"calibration_share": 0.2},
    "model": {"name": "test_resnet", "pretrained": False, "image_size": 32, "resize": "squash"},
    "training": {
        "epochs": 10,
        "batch_size": 32,
        "learning_rate": 0.003,
        "augmentations": ["rotate"],
        "precision": "float32",
    },
    "serving": {"port": 0, "capture_share": 1.0, "capture_file_s": 1.0, "follow_s": 0.5},
    # Half is drawn at random, so that there is enough to judge the new version by.
    "review": {"budget": 240, "random_share": 0.5},
    # As sure as a few hundred test pictures allow.
    # Measuring what the alarm notices would take longer than the story.
    "monitoring": {"odds_pictures": 0},
    # What so few calibration pictures can promise.
    "thresholds": {"max_error": 0.05},
    "promotion": {"automatic": True, "margin": 0.03},
    "triggers": {"settle_s": 0.0, "look_s": 1.0},
}
_WAIT_S = 60.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Digit:
    """A picture, and what it shows, which only the script knows."""

    picture: bytes
    label: str


class Chapter(BaseModel):
    """What became of some pictures that were sent to the server."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str  #: that answered
    pictures: int
    accuracy: float  #: of the answers, by labels that the monitor does not know
    estimated: tuple[float, float] | None  #: by the monitor, without labels
    referred: float  #: the share of answers that it would rather have a person give
    alarm: str  #: what the monitor said; empty where it was quiet


class LoopSummary(BaseModel):
    """The story, chapter by chapter."""

    model_config = ConfigDict(frozen=True)

    folder: str
    chapters: tuple[Chapter, ...]
    corruption: str
    noticed_after: int | None  #: corrupted pictures until the alarm
    asked: int  #: pictures that people were asked about
    answered: int  #: annotations that came home
    through: str  #: what people answered with
    verdict: str  #: why the new version was promoted, or not
    promoted: bool
    quiet: bool  #: no alarm is open at the end: what is sent now has become the new normal
    seconds: float


def run_loop_demo(
    folder: str,
    label_studio: bool = True,
    listener: Listener | None = None,
    tell: Tell = lambda text: None,
) -> LoopSummary:
    """Play the story in a project of its own.

    Args:
        folder: must not exist, or be empty.
        label_studio: let people answer in a real Label Studio, which is installed and started;
            else the script answers by itself.
        listener: is told what runs do.
        tell: is told what happens, in sentences.

    Raises:
        ConfigError: the folder holds something.
    """
    started = time.monotonic()
    root = Path(folder).resolve()
    if root.exists() and any(root.iterdir()):
        raise ConfigError(f"{root} is not empty. Choose another with --dir, or remove it.")
    learned, clean, before, after = _pictures()
    _write(learned, root / PICTURES)
    Project.init(root, str(root / PICTURES), "classification", _SETTINGS)
    story = _Story(Project.open(root), listener, tell)
    tell(f"Training the first version on {len(learned)} clean pictures.")
    first = story.project.run(listener)
    story.project.registry.approve(first.version)
    story.watch()  # notes what was run with, so that only what changes starts anything
    with ThreadPoolExecutor(1) as pool, story.serving() as (url, client):
        studio = pool.submit(story.start_label_studio, url) if label_studio else None
        story.ask("clean", client, clean)
        story.ask(f"{_CORRUPTION}, severity {_SEVERITY}", client, before)
        story.watch()  # the alarm fills the review queue
        asked = story.project.review.counts()["asked"]
        answered = story.annotate({_sha256(d.picture): d.label for d in clean + before}, studio)
        events = story.watch()  # annotations start a run, its evidence a promotion
        promotion = _last(events, "promotion")
        promoted = promotion.version if promotion and promotion.outcome == "done" else None
        if promoted is not None:
            story.wait_for(promoted, client)
        story.ask("the same, with the new champion" if promoted else "the same", client, after)
        story.watch()  # what comes now is the new normal
        if label_studio:
            story.project.label_studio.down()
    said = promotion or _last(events, "run")
    quiet = not story.project.monitor().look().open_alarms
    return LoopSummary(
        folder=str(root),
        chapters=tuple(story.chapters),
        corruption=_CORRUPTION,
        noticed_after=story.noticed_after,
        asked=asked,
        answered=answered,
        through="Label Studio" if label_studio else "the script alone",
        verdict=said.detail if said else "nothing was run",
        promoted=promoted is not None,
        quiet=quiet,
        seconds=time.monotonic() - started,
    )


class _Story:
    """The project while its story is played."""

    def __init__(self, project: Project, listener: Listener | None, tell: Tell) -> None:
        self.project, self._listener, self.tell = project, listener, tell
        self.chapters: list[Chapter] = []
        self.noticed_after: int | None = None
        self._seen = 0

    @contextmanager
    def serving(self) -> Iterator[tuple[str, Client]]:
        """A server that follows the champion, as a user would start it, and its address."""
        command = [sys.executable, "-m", "pixloop", "serve", "--json", "-C"]
        command.append(str(self.project.folder))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                url = _address(server)
                yield url, Client(url)
            finally:
                server.terminate()

    def start_label_studio(self, server: str) -> None:
        """Start it beside everything else: the first time it takes a minute."""
        self.project.label_studio.up(server=server)

    def ask(self, name: str, client: Client, digits: Sequence[Digit]) -> None:
        """Send pictures to the server, and see what the monitor makes of them."""
        self.tell(f"Sending {len(digits)} pictures: {name}.")
        answers = [client.predict([digit.picture])[0] for digit in digits]
        right = [
            isinstance(a, Prediction) and a.label == d.label
            for a, d in zip(answers, digits, strict=True)
        ]
        referred = [isinstance(a, Prediction) and a.decision is Decision.REFER for a in answers]
        look = self._look(len(digits))
        alarms = [alarm for alarm in look.open_alarms if alarm.kind == "drift"]
        if alarms and self.noticed_after is None:
            self.noticed_after = alarms[0].number + 1 - self._seen
        self._seen += len(digits)
        estimate = look.accuracy
        self.chapters.append(
            Chapter(
                name=name,
                version=look.model,
                pictures=len(digits),
                accuracy=float(np.mean(right)),
                estimated=(estimate.low, estimate.high) if estimate else None,
                referred=float(np.mean(referred)),
                alarm=alarms[0].words if alarms else "",
            )
        )

    def watch(self) -> list[Event]:
        """Let the loop run by itself until nothing is due; what it did."""
        events: list[Event] = []

        def tell(event: Event) -> None:
            events.append(event)
            if event.detail:
                self.tell(f"watch: {event.started or 'drift'} {event.outcome}: {event.detail}")

        listening = nullcontext(self._listener or Silent())
        self.project.watch(tell, lambda: listening).watch(once=True)
        return events

    def annotate(self, truth: Mapping[str, str], studio: "Future[None] | None") -> int:
        """Let the script answer what is asked; how many pictures it answered."""
        if studio is None:
            return self._annotate_alone(truth)
        self.tell("Waiting for Label Studio: the first time it is installed.")
        studio.result()
        project = self.project.label_studio.sync(
            self.project.review, self.project.annotations
        ).project
        self.tell("The script answers through Label Studio's API.")
        with self.project.label_studio.client() as client:
            tasks = client.tasks(project)
            return sum(_answer(client, task, truth) for task in tasks)

    def wait_for(self, version: str, client: Client) -> None:
        """Wait until the server answers as a version."""
        name = f"{self.project.config.model_name}:{version}"
        deadline = time.monotonic() + _WAIT_S
        while client.ping() != name:
            if time.monotonic() > deadline:
                raise ServingError(f"the server still answers as {client.ping()}, not as {name}.")
            time.sleep(0.2)

    def _annotate_alone(self, truth: Mapping[str, str]) -> int:
        asked = list(self.project.review.items("asked"))
        for item in asked:
            annotation = Annotation(
                id=f"demo-{item.sha256[:16]}",
                sha256=item.sha256,
                label=truth[item.sha256],
                annotator="demo",
                at=now(),
                drawn=item.drawn or "chosen",
                reasons=tuple(reason.kind for reason in item.reasons),
                origin=dict(item.origin),
            )
            self.project.annotations.add(annotation, self.project.review.picture(item.sha256))
            self.project.review.mark(item.sha256, "answered")
        return len(asked)

    def _look(self, expected: int) -> "Look":
        """Look until the captures of as many pictures have come to be seen."""
        monitor = self.project.monitor()
        found, look = 0, monitor.look()
        deadline = time.monotonic() + _WAIT_S
        while (found := found + look.new) < expected:
            if time.monotonic() > deadline:
                raise ServingError(f"only {found} of {expected} captured requests can be seen.")
            time.sleep(0.5)
            look = monitor.look()
        return look


def _pictures() -> tuple[list[Digit], list[Digit], list[Digit], list[Digit]]:
    """What is learned, what is sent clean, corrupted before the promotion, and after it."""
    digits = [
        (
            np.asarray(Image.fromarray(pixels).resize((_SIDE_PX, _SIDE_PX), Resampling.BICUBIC)),
            label,
        )
        for pixels, label in read_digits()
    ]
    order = np.random.default_rng(0).permutation(len(digits))
    bounds = np.cumsum([0, _LEARNED, _CLEAN, _BEFORE])
    parts = [[int(i) for i in order[a:b]] for a, b in pairwise([*bounds, len(order)])]
    clean = [[_encode(*digits[i]) for i in part] for part in parts[:2]]
    spoilt = [[_encode(*_spoil(*digits[i], i)) for i in part] for part in parts[2:]]
    return clean[0], clean[1], spoilt[0], spoilt[1]


def _spoil(pixels: RgbArray, label: str, seed: int) -> tuple[RgbArray, str]:
    colours = np.repeat(pixels[..., None], 3, axis=2)
    return corrupt(colours, _CORRUPTION, _SEVERITY, seed), label


def _encode(pixels: RgbArray, label: str) -> Digit:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return Digit(file.getvalue(), label)


def _write(digits: Sequence[Digit], folder: Path) -> None:
    for number, digit in enumerate(digits):
        with atomic_path(folder / digit.label / f"{number:04d}.png") as temporary:
            temporary.write_bytes(digit.picture)


def _answer(client: "LabelStudioClient", task: dict[str, Any], truth: Mapping[str, str]) -> int:
    """Answer a task as a person would: what the model says, corrected where it is wrong."""
    mark = read_mark(task)
    if mark is None or mark.sha256 not in truth or task["total_annotations"]:
        return 0
    value = {"choices": [truth[mark.sha256]]}
    region = {"from_name": CONTROL, "to_name": IMAGE, "type": "choices", "value": value}
    client.create(f"tasks/{task['id']}/annotations/", result=[region], lead_time=1.0)
    return 1


def _address(server: "subprocess.Popen[str]") -> str:
    text = ""
    for line in server.stdout or ():
        text += line
        with suppress(ValueError):
            return str(json.loads(text)["url"])
    raise ServingError("The server did not start; its message stands above.")


def _last(events: Sequence[Event], started: str) -> Event | None:
    """How the last of the things of a kind that were started ended."""
    ended = [event for event in events if event.started == started and event.outcome != "began"]
    return ended[-1] if ended else None


def _sha256(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()
