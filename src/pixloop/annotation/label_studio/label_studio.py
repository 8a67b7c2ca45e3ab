"""Label Studio for a project: brought up, connected, synced, taken down."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from pydantic import BaseModel

from pixloop.annotation.label_studio.backend import BackendSettings
from pixloop.annotation.label_studio.client import LabelStudioClient
from pixloop.annotation.label_studio.connection import connect, find_project, open_project
from pixloop.annotation.label_studio.credentials import credentials, token_of_another
from pixloop.annotation.label_studio.environment import Tell
from pixloop.annotation.label_studio.interface import labelling_interface
from pixloop.annotation.label_studio.launching import start_backend, start_label_studio
from pixloop.annotation.label_studio.processes import read_running, stop
from pixloop.annotation.label_studio.s3 import S3Place
from pixloop.annotation.label_studio.sync import Rules, Sync, SyncSummary
from pixloop.annotation.label_studio.tasks import LocalPlace, Place, UploadPlace
from pixloop.annotation.queue import ReviewQueue
from pixloop.config import Config
from pixloop.data.annotations import AnnotationStore
from pixloop.errors import AnnotationError

#: A sync that is at work is waited for.
_WAIT_S = 120.0
_HERE = ("127.0.0.1", "localhost", "::1")


class LabelStudioStatus(BaseModel):
    """What runs, and where."""

    url: str | None  #: None where no Label Studio runs
    project_url: str | None = None  #: where people label
    own: bool = True  #: started by us, and so also stopped by us
    backend: str | None = None  #: the address of what asks the model; None where it does not run
    server: str = ""  #: what the backend asks
    email: str | None = None  #: of the one who enters, where it is our own
    password_file: Path | None = None
    note: str = ""


class LabelStudio:
    """The Label Studio of one project: its own, or one that runs already."""

    def __init__(self, config: Config, state: Path, classes: Callable[[], tuple[str, ...]]) -> None:
        """Nothing is started, and nothing is asked.

        Args:
            config: of the project.
            state: the project's ``.pixloop``.
            classes: gives those that the served model knows, in their order.
        """
        self._config, self._settings = config, config.annotation
        self._state, self._classes = state, classes
        self.folder = state / "label-studio"

    # ---- up and down ------------------------------------------------------------------------

    def up(
        self,
        port: int | None = None,
        server: str | None = None,
        tell: Tell = lambda text: None,
    ) -> LabelStudioStatus:
        """Start Label Studio and our backend, and connect them; what runs already is kept.

        Args:
            port: of Label Studio, instead of ``annotation.port``.
            server: the address of what serves, instead of ``serving.host`` and ``serving.port``.
            tell: is told, in a few words, what is being done.

        Raises:
            AnnotationError: it cannot be installed or started, or a port is busy.
        """
        classes = self._classes()
        with self._alone():
            if self._settings.label_studio is None:
                start_label_studio(self.folder, port or self._settings.port, tell)
            with self.client() as client:
                client.user()
                tell("making the project")
                project = open_project(
                    client,
                    self._title,
                    self._interface(classes),
                    self._settings.annotators,
                )
                note = self._connect(client, int(project["id"]), server, classes, tell)
        return self.status().model_copy(update={"note": note})

    def _connect(
        self,
        client: LabelStudioClient,
        project: int,
        server: str | None,
        classes: tuple[str, ...],
        tell: Tell,
    ) -> str:
        if urlsplit(client.url).hostname not in _HERE:
            return (
                f"{client.url} is another machine, which cannot reach a backend here: answers "
                "are filled in when tasks are made, and annotations come with each sync."
            )
        secret = credentials(self.folder / "credentials.json").secret
        settings = BackendSettings(
            port=self._settings.backend_port,
            server=server or self._server,
            label_studio=client.url,
            token=self._token,
            secret=secret,
            classes=classes,
            pictures=self._state / "review" / "pictures",
            bell=self._state / "watch" / "annotated",
        )
        backend = start_backend(self.folder, settings, tell)
        tell("connecting the model")
        own = self._settings.label_studio is None
        connect(client, project, backend, secret, self._pictures if own else None)
        return ""

    def down(self) -> list[str]:
        """Stop what ``up`` started; gives the addresses that answer no more.

        Answers are safe: they lie in Label Studio's data folder, which stays.
        """
        stopped = []
        with self._alone():
            for file in (self._file("backend"), self._file("server")):
                running = read_running(file)
                if running is not None:
                    stop(running)
                    stopped.append(running.url)
                file.unlink(missing_ok=True)
        return stopped

    def status(self) -> LabelStudioStatus:
        """What runs, and where."""
        backend = read_running(self._file("backend"))
        address = self._settings.label_studio
        status = LabelStudioStatus(
            url=address.rstrip("/") if address else None,
            own=address is None,
            backend=backend.url if backend else None,
            server=self._asked_server,
        )
        if address is None:
            running = read_running(self._file("server"))
            if running is None:
                return status
            file = self.folder / "credentials.json"
            entry = {"email": credentials(file).email, "password_file": file}
            status = status.model_copy(update={"url": running.url, **entry})
        try:
            with self.client() as client:
                project = find_project(client, self._title)
        except AnnotationError as e:
            return status.model_copy(update={"note": str(e)})
        where = f"{client.url}/projects/{project['id']}/data" if project else None
        return status.model_copy(update={"project_url": where})

    # ---- the exchange -----------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether there is a Label Studio to sync with: one by its address, or ours, running."""
        if self._settings.label_studio is not None:
            return True
        return read_running(self._file("server")) is not None

    def sync(self, queue: ReviewQueue, store: AnnotationStore) -> SyncSummary:
        """Bring queue and annotations level with Label Studio, both ways; see ``sync``.

        Raises:
            AnnotationError: Label Studio does not run, does not answer, or refuses. What was done
                holds, and the next sync goes on.
        """
        settings = self._settings
        classes = self._classes()
        rules = Rules(self._config.task, classes, settings.annotators, settings.agreement)
        with self._alone(), self.client() as client:
            interface = self._interface(classes)
            project = open_project(client, self._title, interface, settings.annotators)
            return Sync(client, project, rules, queue, store).run(self._place(client, project))

    def _interface(self, classes: tuple[str, ...]) -> str:
        own = self._settings.label_studio is None
        return labelling_interface(self._config.task, classes, says_why=own)

    def _place(self, client: LabelStudioClient, project: dict[str, object]) -> Place:
        if self._settings.pictures is not None:
            return S3Place(client, int(str(project["id"])), self._settings.pictures)
        if self._settings.label_studio is None:
            return LocalPlace(self._pictures.parent, self._pictures)
        return UploadPlace(client, int(str(project["id"])))

    # ---- inside -----------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time: two syncs at once would both find a picture without a task."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            with lock.acquire(timeout=_WAIT_S):
                yield
        except Timeout as e:
            raise AnnotationError(
                f"another 'pixloop annotate' has been at work in {self.folder} for {_WAIT_S:.0f} s."
            ) from e

    def client(self) -> LabelStudioClient:
        """Asks this Label Studio, as the user that pixloop made or the token's.

        Raises:
            AnnotationError: none runs, or there is no token for it.
        """
        return LabelStudioClient(self._url, self._token)

    @property
    def _url(self) -> str:
        if self._settings.label_studio is not None:
            return self._settings.label_studio
        running = read_running(self._file("server"))
        if running is None:
            raise AnnotationError(
                "Label Studio does not run. 'pixloop annotate up' starts one; the key "
                "annotation.label_studio names one that runs elsewhere."
            )
        return running.url

    @property
    def _token(self) -> str:
        if self._settings.label_studio is not None:
            return token_of_another(self._settings.label_studio)
        return credentials(self.folder / "credentials.json").token

    @property
    def _title(self) -> str:
        return f"{self._config.name} (pixloop)"[:50]

    @property
    def _pictures(self) -> Path:
        """Below a folder of its own: Label Studio serves all that is beside it."""
        folder = self.folder.resolve() / "shown" / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def _server(self) -> str:
        serving = self._config.serving
        host = "127.0.0.1" if serving.host in ("0.0.0.0", "::") else serving.host  # noqa: S104
        return f"http://[{host}]:{serving.port}" if ":" in host else f"http://{host}:{serving.port}"

    @property
    def _asked_server(self) -> str:
        """What the running backend asks."""
        try:
            file = self.folder / "backend-settings.json"
            return BackendSettings.model_validate_json(file.read_bytes()).server
        except (OSError, ValueError):
            return self._server

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"
