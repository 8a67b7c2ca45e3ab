"""Answers to pictures on the page ``/try``, whoever gives them."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pixloop.acceptance import Acceptance
from pixloop.decoding import READ_FORMATS, open_image
from pixloop.errors import ConfigError, ImageError, ImageTooLarge, PixloopError, ServingError
from pixloop.model_versions import ModelVersion
from pixloop.web.endpoint import read_endpoint
from pixloop.web.site import Site
from pixloop.web.tryout.addresses import checked_address
from pixloop.web.tryout.models import Kept, Models

if TYPE_CHECKING:
    from pixloop.serving.codec import Answer

#: Who answers: this machine's server. Anything else is a version's number, or an address.
SERVER = "server"
#: Answers that are remembered, for whoever says that one is wrong.
_REMEMBERED = 200
#: A server is not waited for longer: somebody looks at the page.
_SILENCE_S, _TOTAL_S = 30.0, 40.0
_MOST_WORDS, _MOST_NAME = 400, 200
#: What phones and browsers write and pixloop does not read, by the brand that such a file begins
#: with. (HEIF is the family of both; the brand says no more then.)
_UNREAD = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx"), "HEIC"),
    **dict.fromkeys((b"heif", b"mif1", b"msf1"), "HEIF"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
_NUMBER = re.compile(r"[0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Answered:
    """A picture's answer.

    Attributes:
        answer: as the server's JSON has it for a picture.
        model: the version that gave it: ``vehicles:3``; empty where a server does not say.
        latency_ms: the time around the call.
        threshold: the least score of each class in the answer, None where none is enough; empty
            where it is not known.
        version: the number, where it is one of this project's; else empty.
    """

    answer: Mapping[str, Any]
    model: str
    latency_ms: float
    threshold: Mapping[str, float | None]
    version: str = ""

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "answer": dict(self.answer),
            "model": self.model,
            "latency_ms": round(self.latency_ms, 2),
            "threshold": dict(self.threshold),
            "version": self.version,
        }


class Answering:
    """Answers pictures for a project's page.

    Args:
        site: the project.
        models: its versions.
    """

    def __init__(self, site: Site, models: Models) -> None:
        self._site, self._models = site, models
        self._remembered: Kept[Answered] = Kept(_REMEMBERED)

    def ask(self, by: str, picture: bytes) -> Answered:
        """The answer to a picture.

        Args:
            by: ``server``, an address, a version's number, or nothing for the version that is
                served.
            picture: as it was sent.

        Raises:
            ImageError: it cannot be read; whoever answers was not asked then.
            ConfigError: ``by`` is none of these.
            ServingError: the server does not answer, or not as a pixloop server does.
            BundleError, RegistryError: the version cannot be opened.
        """
        _check(picture)
        answered = (
            self._ask_version(self._models.version(by), picture)
            if is_version(by)
            else self._ask_server(self.address(by), picture)
        )
        self._remembered.put(_name(by, picture), answered)
        return answered

    def answer(self, by: str, picture: bytes) -> Answered:
        """The answer that was given before, else a new one; errors are those of ``ask``."""
        return self._remembered.find(_name(by, picture)) or self.ask(by, picture)

    def address(self, by: str) -> str:
        """Where a server is, this machine's or another.

        Raises:
            ConfigError: it is nowhere.
        """
        if by != SERVER:
            return checked_address(by)
        found = read_endpoint(self._site)
        if found.url is None:
            raise ConfigError(
                "serving.port is 0, so nobody knows where a server is that no page has started. "
                "Give its address, or a number as serving.port."
            )
        return found.url

    def _ask_version(self, version: ModelVersion, picture: bytes) -> Answered:
        predictor = self._models.predictor(version)
        answer, took_ms = _timed(lambda: next(iter(predictor.predict_each([picture]))))
        name = f"{version.model}:{version.version}"
        return _answered(answer, name, took_ms, predictor.manifest.threshold.acceptance, version)

    def _ask_server(self, address: str, picture: bytes) -> Answered:
        # httpx takes a while to import, which other pages need not wait for.
        from pixloop.serving.client import Client

        with Client(address, _SILENCE_S, retries=1, total_s=_TOTAL_S) as client:
            name = ""
            with suppress(ServingError):  # what answers may have no such address
                name = client.ping()[:_MOST_NAME]
            # The connection stands by now, so that the time is that of the answer.
            answer, took_ms = _timed(lambda: next(client.predict_each([picture])))
        acceptance, version = None, None
        with suppress(PixloopError):  # it has answered, whatever is known of its model here
            version = self._own(name)
            if version is not None:
                acceptance = self._models.bundle(version).manifest.threshold.acceptance
        return _answered(answer, name, took_ms, acceptance, version)

    def _own(self, name: str) -> ModelVersion | None:
        """The version of this project that a model's name stands for."""
        return next((v for v in self._site.versions() if name == f"{v.model}:{v.version}"), None)


def _check(picture: bytes) -> None:
    """Refuse what is no picture before anybody is asked, with what a person can do about it."""
    try:
        open_image(picture)
    except ImageTooLarge as e:
        raise ImageTooLarge(f"the picture is too large: {e}") from e
    except ImageError as e:
        if unread := _unread_format(picture):
            raise ImageError(
                f"the picture is {unread}, which pixloop does not read; export it as JPEG"
            ) from e
        formats = ", ".join(READ_FORMATS)
        raise ImageError(f"{e}; it should be one of {formats}") from e


def _unread_format(picture: bytes) -> str | None:
    """The name of a format that is known here and not read.

    >>> _unread_format(bytes((0, 0, 0, 24)) + b"ftypheic")
    'HEIC'
    """
    return _UNREAD.get(picture[8:12]) if picture[4:8] == b"ftyp" else None


def _timed(ask: "Callable[[], Answer | ImageError]") -> "tuple[Answer, float]":
    began = time.perf_counter()
    answer = ask()
    took_ms = 1000 * (time.perf_counter() - began)
    if isinstance(answer, ImageError):
        raise type(answer)(str(answer)[:_MOST_WORDS])
    return answer, took_ms


def _answered(
    answer: "Answer",
    name: str,
    took_ms: float,
    acceptance: Acceptance | None,
    version: ModelVersion | None,
) -> Answered:
    plain = _plain(answer)
    labels = [box["label"] for box in plain["boxes"]] if "boxes" in plain else [plain["label"]]
    least = {} if acceptance is None else {label: acceptance.least(label) for label in labels}
    return Answered(plain, name, took_ms, least, version.version if version else "")


def _plain(answer: "Answer") -> dict[str, Any]:
    """An answer in the server's JSON; one from a stranger may hold anything."""
    # httpx and pybase64 are needed only where something is asked.
    from pixloop.serving.codec import Request, encode_answer

    try:
        text, _ = encode_answer(Request((b"",), ()), [answer], "")
        plain: dict[str, Any] = json.loads(text)["predictions"][0]
    except (TypeError, ValueError) as e:
        raise ServingError("the server does not answer as a pixloop server does.") from e
    labelled = plain.get("boxes", [plain])
    if not all(isinstance(each["label"], str) for each in labelled):
        raise ServingError("the server does not answer as a pixloop server does.")
    return plain


def _name(by: str, picture: bytes) -> tuple[str, str]:
    return by, hashlib.sha256(picture).hexdigest()


def is_version(by: str) -> bool:
    """Whether who answers is a version here, and no server.

    >>> is_version("3"), is_version(""), is_version("server"), is_version("http://a")
    (True, True, False, False)
    """
    return _NUMBER.fullmatch(by) is not None


def words(error: PixloopError) -> str:
    """What went wrong, as a sentence of bearable length.

    >>> words(ImageError("the file is empty"))
    'The file is empty.'
    """
    text = str(error).strip()
    text = text if len(text) <= _MOST_WORDS else text[:_MOST_WORDS] + "…"
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "…", "!", "?")) else ".")
