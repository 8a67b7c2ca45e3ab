"""The Try page alone, as files for any static host: it asks a server elsewhere, by its URL.

::

    index.html                  the page, with what it knows of the model
    settings.json               the same, for people and programs; marks the folder as ours
    *.js, *.css, icon.svg       linked relatively, so that the page works below any path

The page asks the one server that it was made for, which its security policy lets it ask and
nobody else. That server must let the page's origin read the answers: ``serving.allow_origin``.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pixloop import __version__
from pixloop.bundle import Bundle, Manifest, Task
from pixloop.config import Config
from pixloop.errors import ConfigError
from pixloop.web.rendering import STATIC, environment

PAGE, SETTINGS = "index.html", "settings.json"
#: Copied as they are.
_COPIED = ("app.css", "answers.css", "export.css", "answers.js", "export.js", "icon.svg")
_MADE_BY = "pixloop web export"

#: No user, query or fragment: what is left needs no quoting in a shell, in Python or in a policy,
#: which knows no addresses of IPv6 either.
_URL = re.compile(r"https?://[a-z0-9.-]+(?::\d{1,5})?(?:/[\w./~-]*)?", re.ASCII)
_THIS_MACHINE = ("127.0.0.1", "localhost")
_FUNCTION = re.compile(r"[a-z0-9]+\.lambda-url\.[a-z0-9-]+\.on\.aws")
#: Lambda takes requests of 6 MiB, in which a picture is base64 and not alone.
_FUNCTION_BYTES = 4_500_000


@dataclass(frozen=True)
class PageSettings:
    """What the page knows.

    Attributes:
        project: its name.
        model: what the server's answers are expected to name; of another model the page shows
            no threshold, which would not be that one's.
        task: of the model.
        classes: what it tells apart.
        threshold: the least score that is accepted, or one for each class; null for "never".
        server: the address that pictures are sent to.
        max_bytes: of a picture.
    """

    project: str
    model: str
    task: Task
    classes: tuple[str, ...]
    threshold: float | Mapping[str, float | None] | None
    server: str
    max_bytes: int


def export_page(config: Config, model: str, bundle: Bundle, url: str, folder: Path) -> PageSettings:
    """Write the page into a folder, whole or not at all.

    Args:
        config: the project's.
        model: what answers give as ``model``, such as ``vehicles:3``.
        bundle: that model.
        url: of the server, with or without ``/invocations``.
        folder: a new or empty one, or one that was written before, which is replaced.

    Returns:
        What the page knows.

    Raises:
        ConfigError: the URL is none that a page can ask, or the folder holds something else.
    """
    server = check_url(url)
    manifest = bundle.manifest
    most, host = config.serving.max_body_bytes, urlsplit(server).hostname or ""
    settings = PageSettings(
        config.name,
        model,
        manifest.task,
        manifest.classes,
        _thresholds(manifest),
        server,
        min(most, _FUNCTION_BYTES) if _FUNCTION.fullmatch(host) else most,
    )
    folder = folder.resolve()
    _check_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
            fresh = Path(beside) / "fresh"
            _write(fresh, settings)
            _put(fresh, folder, Path(beside) / "before")
    except OSError as e:
        raise ConfigError(f"{folder}: the page cannot be written there: {e.strerror}.") from e
    return settings


def check_url(url: str) -> str:
    """Where a server takes pictures, from its address.

    >>> check_url("https://pictures.example"), check_url("http://localhost:8080/invocations")
    ('https://pictures.example/invocations', 'http://localhost:8080/invocations')

    Raises:
        ConfigError: it is no address that a page may ask.
    """
    base = url.removesuffix("/").removesuffix("/invocations")
    try:
        parts = urlsplit(base)
        port = parts.port  # read, as it may be none
    except ValueError:
        parts, port = urlsplit(""), 0
    if not _URL.fullmatch(base) or port == 0 or ".." in parts.path:
        raise ConfigError(
            f"--url {url!r}: expected a server's address, such as https://pictures.example: "
            "small letters, no user, no query."
        )
    if parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
        raise ConfigError(
            f"--url {url}: browsers let a page ask https:// alone, or http:// on this machine."
        )
    return f"{base.removesuffix('/')}/invocations"


def origin_of(url: str) -> str:
    """Of an address, what browsers call its origin.

    >>> origin_of("https://pictures.example/a/invocations")
    'https://pictures.example'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _thresholds(manifest: Manifest) -> float | Mapping[str, float | None] | None:
    acceptance = manifest.threshold.acceptance
    if not acceptance.classes:
        return acceptance.score
    return {label: acceptance.least(label) for label in manifest.classes}


def _check_folder(folder: Path) -> None:
    """See that nothing but an earlier page would be replaced.

    Raises:
        ConfigError: something would.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file; --out is to be a folder.")
    found = {each.name for each in folder.iterdir()}
    if not found:
        return
    try:
        mark = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        own = {*map(str, mark["files"])} if mark["made_by"] == _MADE_BY else set()
    except (OSError, ValueError, KeyError, TypeError):
        own = set()
    if not own:
        raise ConfigError(
            f"{folder} holds something else than a page of pixloop's; nothing was changed. "
            "Choose an empty folder with --out."
        )
    if others := sorted(found - own):
        raise ConfigError(
            f"{folder} holds {others[0]!r}{f' and {len(others) - 1} more' if others[1:] else ''} "
            "beside the page, which would be lost; nothing was changed. Move it, or choose another "
            "folder with --out."
        )


def _put(fresh: Path, folder: Path, before: Path) -> None:
    """Put a folder in the place of another, which goes only when this one is there."""
    if folder.exists():
        folder.replace(before)
    try:
        fresh.replace(folder)
    except OSError:
        if before.exists():
            before.replace(folder)
        raise


def _write(folder: Path, settings: PageSettings) -> None:
    folder.mkdir()
    # Links change with what they lead to, so that a host may have browsers keep it.
    links = {}
    for name in _COPIED:
        content = (STATIC / name).read_bytes()
        (folder / name).write_bytes(content)
        links[name] = f"{name}?v={hashlib.sha256(content).hexdigest()[:12]}"
    known = asdict(settings)
    page = (
        environment()
        .get_template("export/page.html")
        .render(
            settings=settings,
            link=links.__getitem__,
            known=json.dumps(known, ensure_ascii=False),
            asked=origin_of(settings.server),
            size=f"{settings.max_bytes / 1e6:g} MB",
            version=__version__,
        )
    )
    (folder / PAGE).write_text(page, encoding="utf-8")
    mark = {"made_by": _MADE_BY, "version": __version__, "files": [PAGE, SETTINGS, *_COPIED]}
    text = json.dumps({**mark, **known}, indent=2, ensure_ascii=False) + "\n"
    (folder / SETTINGS).write_text(text, encoding="utf-8")
