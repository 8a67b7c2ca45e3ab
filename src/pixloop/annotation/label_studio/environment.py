"""An environment of Label Studio's own: inside ours it would hold numpy and others back."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

from filelock import FileLock

from pixloop.errors import AnnotationError
from pixloop.files import sha256_file, write_text

#: The version that conversion and backend were tried with.
VERSION = "1.23.2"
_LOCK = "requirements.lock"
#: Written last: an environment without it is half made.
_DONE = "pixloop-complete"

Tell = Callable[[str], None]


def user_folder() -> Path:
    """Where this user's data lie that no project holds (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME", "")
    # The standard says that a relative one is to be ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share"
    return root / "pixloop"


def environment_folder() -> Path:
    """Where the environment is, or will be."""
    return user_folder() / f"label-studio-{VERSION}"


def install(tell: Tell = lambda text: None) -> Path:
    """Label Studio's program, in an environment that is made where it is missing or half made.

    Every package is held against the hash in the lock file. It takes about 800 MB.

    Args:
        tell: is told, in a few words, what is being done.

    Raises:
        AnnotationError: it cannot be installed.
    """
    folder = environment_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two projects may come up at once.
    with FileLock(f"{folder}.lock"), as_file(files(__package__) / _LOCK) as lock:
        wanted = f"{sha256_file(lock)} {sys.version_info.major}.{sys.version_info.minor}\n"
        program = folder / "bin" / "label-studio"
        done = folder / _DONE
        if done.is_file() and done.read_text() == wanted and program.is_file():
            return program
        if folder.exists():
            tell("removing an environment that is half made or of another version")
            # What says that it is whole goes first: a kill meanwhile must not leave it.
            done.unlink(missing_ok=True)
            shutil.rmtree(folder)
        _make(folder, lock, tell)
        write_text(done, wanted)
        return program


def _make(folder: Path, lock: Path, tell: Tell) -> None:
    python = folder / "bin" / "python"
    uv = shutil.which("uv")
    tell(f"installing Label Studio {VERSION} in {folder} (about 800 MB; once)")
    if uv:
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        _run(uv, "pip", "install", "--python", str(python), "--require-hashes", "-r", str(lock))
        return
    _run(sys.executable, "-m", "venv", str(folder))
    _run(
        *(str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"),
        *("--require-hashes", "-r", str(lock)),
    )


def _run(*command: str) -> None:
    """Run a command; its own progress is for people, on standard error."""
    try:
        subprocess.run(command, check=True, stdout=sys.stderr, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as e:
        raise AnnotationError(
            f"Label Studio {VERSION} could not be installed: {' '.join(command[:4])} … failed; the "
            "lines above say why. 'pixloop annotate up' tries again from the beginning; a Label "
            "Studio that runs already is used with the key annotation.label_studio."
        ) from e
