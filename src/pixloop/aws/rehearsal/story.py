"""``pixloop aws rehearse``: the whole loop on AWS, played on this machine, link by link.

Nothing is faked: each link says what stood in for AWS. A link that breaks stops what depends on
it; what was started is stopped in every case.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from pixloop.aws.rehearsal import ending_links as ending
from pixloop.aws.rehearsal import learning_links as learning
from pixloop.aws.rehearsal import serving_links as serving
from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.aws.rehearsal.rehearsal_data import write_pictures, write_settings
from pixloop.aws.rehearsal.stage import Stage
from pixloop.aws.session import Session
from pixloop.errors import ConfigError, PixloopError
from pixloop.pipeline.display import Listener, Silent
from pixloop.pipeline.lock import exclusive

PROJECT = "rehearsal"
_CLOUD = "cloud"
_LOCK = f"{_CLOUD}/lock"  #: it stays, and so tells whether a folder is a rehearsal's

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Link:
    """A link of the chain: what it does, after which others, and what stands in for AWS."""

    name: str
    act: Callable[[Stage], str]
    stood_in_by: str
    needs: tuple[str, ...] = ()


LINKS = (
    Link(
        "stacks up",
        learning.make_stacks,
        "moto's CloudFormation, completed from the templates' own properties",
    ),
    Link(
        "new raw data starts a run",
        learning.add_raw_data,
        "moto's S3, SQS and rules; deliveries and the function's poller of pixloop; the "
        "function's real package under AWS's runtime client",
        ("stacks up",),
    ),
    Link(
        "pipeline",
        learning.run_pipeline,
        "the local engine runs SageMaker's definition over moto's S3, each step a process here",
        ("new raw data starts a run",),
    ),
    Link("registered", learning.find_registered, "moto's model registry", ("pipeline",)),
    Link(
        "approved, deployed, verified",
        learning.approve_first,
        "moto's model registry and endpoint records; the real server in a process behind the "
        "endpoint's name; the functions' real packages",
        ("registered",),
    ),
    Link(
        "workflow",
        serving.run_workflow,
        "moto's Step Functions, which runs the state machine; the functions' real packages",
        ("approved, deployed, verified",),
    ),
    Link(
        "queue",
        serving.answer_queue,
        "moto's S3 and SQS; the function's poller of pixloop; the function's real package",
        ("approved, deployed, verified",),
    ),
    Link(
        "function",
        serving.serve_by_function,
        "the server's Lambda handler under AWS's runtime client, in this Python environment "
        "instead of the image",
        ("approved, deployed, verified",),
    ),
    Link(
        "run --on sagemaker",
        learning.run_again,
        "the same as for the pipeline before",
        ("approved, deployed, verified",),
    ),
    Link(
        "drift starts a run",
        learning.drift,
        "moto's alarm, evaluated by pixloop; otherwise as new raw data",
        ("approved, deployed, verified",),
    ),
    Link(
        "retrained version deployed",
        learning.approve_retrained,
        "the same as for the first version",
        ("drift starts a run",),
    ),
    Link(
        "bad version rolled back",
        learning.deploy_bad_version,
        "the same as for the first version",
        ("retrained version deployed",),
    ),
    Link(
        "status and cost",
        ending.look,
        "the same services as before; prices from pixloop's own table",
        ("bad version rolled back",),
    ),
)
_TEARDOWN = Link("stacks down", ending.tear_down, "the same services as before")
_NOTHING_LEFT = Link(
    "nothing left", lambda stage: "", "none needed: these are this machine's own processes"
)


class LinkResult(BaseModel):
    """How a link of the chain went."""

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    seconds: float
    stood_in_by: str
    happened: str  #: in a sentence; or why it broke, or was not played
    played: bool = True  #: False where it needs a link that broke


class Rehearsal(BaseModel):
    """How the whole chain went."""

    model_config = ConfigDict(frozen=True)

    folder: str
    seconds: float
    links: tuple[LinkResult, ...]
    completed: tuple[str, ...]  #: resources of the templates that moto alone would not have made
    left_out: tuple[str, ...]  #: resources that nobody acted out

    @property
    def ok(self) -> bool:
        """Whether every link held."""
        return all(link.ok for link in self.links)


def rehearse(
    folder: Path,
    *,
    pictures: Path | None = None,
    listener: Listener | None = None,
    on_link: Callable[[LinkResult], None] = lambda result: None,
) -> Rehearsal:
    """Play the loop.

    Args:
        folder: for pictures, logs, models and the pipeline's steps; it stays afterwards.
        pictures: labelled pictures; without them, handwritten digits.
        listener: is told how runs of the pipeline go.
        on_link: gets each link when it has ended.

    Raises:
        ConfigError: the folder holds something else.
        PipelineError: another rehearsal is played there.
        DataError: the pictures cannot be used.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / _LOCK).exists():
        raise ConfigError(f"{folder} is not empty. Choose another with --dir.")
    busy = f"Another rehearsal is played in {folder} (process {{pid}}). Choose another with --dir."
    with exclusive(folder / _LOCK, busy):
        return _rehearse(folder, pictures, listener, on_link)


def _rehearse(
    folder: Path,
    pictures: Path | None,
    listener: Listener | None,
    on_link: Callable[[LinkResult], None],
) -> Rehearsal:
    started = time.monotonic()
    data = write_pictures(pictures, folder / "pictures")
    (folder / _CLOUD).mkdir(exist_ok=True)
    results: list[LinkResult] = []

    def note(result: LinkResult) -> None:
        results.append(result)
        on_link(result)

    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with _logged(folder / "log.txt"), Cloud(folder / _CLOUD) as cloud:
        config = write_settings(PROJECT, "raw", pictures is not None, folder)
        stage = Stage(cloud, Session(cloud.region), config, folder, data, listener or Silent())
        try:
            play(LINKS, stage, note)
        finally:
            note(_played(_TEARDOWN, stage))
        completed, left_out = cloud.stacks.completed, cloud.stacks.left_out
    note(_look_for_leftovers(before))
    return Rehearsal(
        folder=str(folder),
        seconds=round(time.monotonic() - started, 1),
        links=tuple(results),
        completed=tuple(completed),
        left_out=tuple(left_out),
    )


@contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Keep what the stand-ins log: people are told by the links."""
    logger = logging.getLogger("pixloop.aws.rehearsal")
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)
        handler.close()


def play(links: Sequence[Link], stage: Stage, note: Callable[[LinkResult], None]) -> None:
    """Play links in order; those that need a broken one are not played."""
    broken: set[str] = set()
    for link in links:
        missing = [name for name in link.needs if name in broken]
        if missing:
            why = f"not played: it needs {', '.join(missing)}"
            result = _result(link, False, 0.0, why).model_copy(update={"played": False})
        else:
            result = _played(link, stage)
        if not result.ok:
            broken.add(link.name)
        note(result)


def _played(link: Link, stage: Stage) -> LinkResult:
    started = time.monotonic()
    try:
        happened, ok = link.act(stage), True
    except Exception as e:  # whatever it is: the rest goes on, and all is taken down
        expected = isinstance(e, PixloopError)
        happened, ok = str(e) if expected else f"{type(e).__name__}: {e}{stage.failures()}", False
        if not expected:
            log.exception("%s", link.name)
    return _result(link, ok, time.monotonic() - started, happened)


def _look_for_leftovers(before: set[int]) -> LinkResult:
    started = time.monotonic()
    left = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
    said = ", ".join(f"{process.pid} ({process.name()})" for process in left)
    happened = f"still running: {said}" if left else "no process is left"
    return _result(_NOTHING_LEFT, not left, time.monotonic() - started, happened)


def _result(link: Link, ok: bool, seconds: float, happened: str) -> LinkResult:
    return LinkResult(
        name=link.name,
        ok=ok,
        seconds=round(seconds, 1),
        stood_in_by=link.stood_in_by,
        happened=happened,
    )
