"""The versions that answer pictures on the page ``/try``, in the pages' own process."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from pixloop.bundle import MANIFEST, Bundle
from pixloop.errors import BundleError, PixloopError, RegistryError
from pixloop.files import sha256_file
from pixloop.model_versions import ModelVersion
from pixloop.web.site import Site
from pixloop.web.versions import local_place, preferred

if TYPE_CHECKING:
    from pixloop.serving.predictor import Predictor

#: Opened models that are kept.
_KEPT = 2

T = TypeVar("T")


class Kept(Generic[T]):
    """A few things that are expensive to make, the latest used; threads may share one."""

    def __init__(self, most: int = _KEPT) -> None:
        self._most = most
        self._things: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: Hashable, make: Callable[[], T]) -> T:
        """The thing of a name, made where it is not kept; whoever else asks waits."""
        with self._lock:
            if name not in self._things:
                # Before another is made, so that there are never more.
                while len(self._things) >= self._most:
                    self._things.popitem(last=False)
                self._things[name] = make()
            self._things.move_to_end(name)
            return self._things[name]

    def find(self, name: Hashable) -> T | None:
        """The thing of a name, if it is kept."""
        with self._lock:
            return self._things.get(name)

    def put(self, name: Hashable, thing: T) -> None:
        """Keep a thing that was made already."""
        with self._lock:
            self._things[name] = thing
            self._things.move_to_end(name)
            while len(self._things) > self._most:
                self._things.popitem(last=False)


class Models:
    """A project's versions, opened to answer here."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._predictors: Kept[Predictor] = Kept()
        self._bundles: Kept[Bundle] = Kept(8)

    def version(self, number: str = "") -> ModelVersion:
        """A version: the given one, else the champion, else the latest that was not rejected.

        Raises:
            RegistryError: there is no such version, or none at all.
        """
        versions = self._site.versions()
        if not versions:
            raise RegistryError("there is no model version yet. 'pixloop run' makes one.")
        found = next((v for v in versions if v.version == number), None)
        if found is None and number:
            raise RegistryError(f"there is no version {number[:40]!r} to answer.")
        return found or preferred(versions) or versions[0]

    def bundle(self, version: ModelVersion) -> Bundle:
        """A version's bundle.

        Raises:
            BundleError, RegistryError: it is damaged, or not there any more.
        """
        return self._bundles.get(version.bundle_sha256, lambda: self._open_bundle(version))

    def predictor(self, version: ModelVersion) -> "Predictor":
        """What answers as a version, opened once and kept while few others are asked.

        Raises:
            BundleError: no graph of it can be computed in this process.
            RegistryError: as ``bundle``.
        """
        return self._predictors.get(version.bundle_sha256, lambda: self._open(version))

    def _open_bundle(self, version: ModelVersion) -> Bundle:
        # The registry would import MLflow, which takes seconds.
        places = [self._site.state / "bundles" / version.version, local_place(version.bundle)]
        for place in places:
            with suppress(OSError, PixloopError):
                if place is not None and sha256_file(place / MANIFEST) == version.bundle_sha256:
                    return Bundle.open(place)
        return self._site.project.bundle(version.version)[1]

    def _open(self, version: ModelVersion) -> "Predictor":
        # The inference engine takes a part of a second to import, which other pages need not wait.
        from pixloop.serving.predictor import choose_graph, open_predictor

        bundle = self.bundle(version)
        graph = choose_graph(bundle.manifest, self._site.project.config.serving.graph)
        if bundle.graph(graph).format == "torchscript":
            raise BundleError(
                f"version {version.version} can be computed by torch alone here, which is not "
                f"loaded into the pages' server. 'pixloop serve --version {version.version}' "
                "serves it; then choose the server on this machine."
            )
        predictor = open_predictor(bundle, graph)
        predictor.warm_up()  # the first latency that is shown is that of an answer
        return predictor
