"""The models that one server has loaded, by name; see ``multi_model`` for who asks for them."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pixloop.bundle import Bundle
from pixloop.errors import ServingError
from pixloop.serving.jobs import Version
from pixloop.serving.memory import room_bytes
from pixloop.serving.models.acceptance import OpenModel
from pixloop.serving.models.served import OnSwap, Served

#: SageMaker's names are hashes; people's are words.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: A graph's files are this much larger in memory: read, and compiled both for a lone request and
#: for many at once.
_GROWTH = 5


class NotLoaded(ServingError):
    """No model of that name is loaded."""


class AlreadyLoaded(ServingError):
    """A model of that name is loaded."""


class NoRoom(ServingError):
    """A model would take more memory than there is."""


class Outside(ServingError):
    """What should be loaded lies where nothing may be loaded from."""


@dataclass(slots=True)
class LoadedModel:
    """A model, and the folder that its bundle was loaded from, as it was named."""

    served: Served
    url: str


class LoadedModels:
    """Models by name. Threads may share it; what loads a model takes long."""

    def __init__(
        self,
        folder: Path,
        open_model: OpenModel,
        on_swap: OnSwap = lambda version, outcome: None,
        room: Callable[[], int] = room_bytes,
    ) -> None:
        """None is loaded yet.

        Args:
            folder: every bundle that may be loaded lies in it.
            open_model: loads a bundle's graph.
            on_swap: see ``Served``; it is also told of what is loaded and unloaded.
            room: bytes that models may still take.
        """
        self._folder, self._open_model = folder.resolve(), open_model
        self._on_swap, self._room = on_swap, room
        self._models: dict[str, LoadedModel] = {}
        self._loading = threading.Lock()  # one at a time, so that each sees what the others took

    def names(self) -> list[str]:
        """What is loaded."""
        return sorted(self._models)

    def get(self, name: str) -> LoadedModel:
        """A model.

        Raises:
            NotLoaded: there is none of that name.
        """
        try:
            return self._models[name]
        except KeyError:
            raise NotLoaded(f"No model {name[:128]!r} is loaded.") from None

    def load(self, name: str, url: str, version: str = "") -> None:
        """Load a bundle.

        Args:
            name: letters, digits, dots, dashes and underscores.
            url: the bundle's folder, absolute or from the folder of all.
            version: what answers give as ``model`` after the name and a colon.

        Raises:
            AlreadyLoaded: there is a model of that name.
            NoRoom: it would take more memory than there is.
            Outside: the folder is not in the one that bundles may be loaded from.
            ServingError: the name is no name.
            BundleError: there is no bundle, or it is damaged.
        """
        if not _NAME.fullmatch(name):
            raise ServingError(f"{name[:128]!r} is no name: use up to 128 of A-Z a-z 0-9 . _ -")
        bundle = self._inside(url)
        with self._loading:
            if name in self._models:
                raise AlreadyLoaded(f"Model {name!r} is loaded already.")
            opened = Bundle.open(bundle)
            self._check_room(opened)
            predictor = self._open_model(opened)
            predictor.warm_up()
            loaded = Version(_full(name, version), predictor)
            served = Served(loaded, self._open_model, self._on_swap)
            self._models[name] = LoadedModel(served, url)
        self._on_swap(loaded.name, "taken")

    def unload(self, name: str) -> None:
        """Forget a model; requests that are being answered still are.

        Raises:
            NotLoaded: there is none of that name.
        """
        model = self.get(name)
        if self._models.pop(name, None) is None:  # another thread was faster
            raise NotLoaded(f"No model {name!r} is loaded.")
        model.served.close()
        self._on_swap(model.served.current.name, "unloaded")

    def swap(self, name: str, url: str, version: str = "") -> None:
        """Let another bundle take a model's place; see ``Served.swap``.

        Raises:
            NotLoaded, NoRoom, Outside, BundleError: as ``load``.
            SwapRefused: it cannot, and what served goes on.
        """
        model = self.get(name)
        bundle = self._inside(url)
        self._check_room(Bundle.open(bundle))
        model.served.swap(bundle, _full(name, version))
        model.url = url

    def close(self) -> None:
        """Forget all."""
        for name in self.names():
            self.unload(name)

    def _inside(self, url: str) -> Path:
        try:
            path = (self._folder / url).resolve()
        except (OSError, ValueError) as e:  # a loop of links, or a null character
            raise Outside(f"{url[:200]!r} is no folder: {e}.") from e
        if not path.is_relative_to(self._folder):
            raise Outside(f"{url[:200]!r} does not lie in {self._folder}.")
        if not path.is_dir():
            raise ServingError(f"{url[:200]!r} is no folder.")
        return path

    def _check_room(self, bundle: Bundle) -> None:
        largest = max(
            sum(bundle.manifest.files[name].bytes for name in bundle.graph_files(graph.name))
            for graph in bundle.manifest.graphs
        )
        wanted, room = _GROWTH * largest, self._room()
        if wanted > room:
            raise NoRoom(
                f"The model may take {wanted / 1e6:.0f} MB, there are {max(room, 0) / 1e6:.0f} MB. "
                "Unload another first."
            )


def _full(name: str, version: str) -> str:
    return f"{name}:{version}" if version else name
