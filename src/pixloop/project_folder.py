"""What a project's folder gives: a name, sources that hold there, the commit it is at."""

import re
import subprocess
from pathlib import Path

from pixloop.errors import ConfigError


def project_name(folder: Path) -> str:
    """A name that registries and SageMaker take, made from a folder's.

    >>> project_name(Path("My vehicles_2"))
    'My-vehicles-2'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", folder.name).strip("-")[:63] or "model"


def stored_source(source: str, root: Path) -> str:
    """A source as pixloop.yaml holds it: addresses as they are, paths so that they hold there."""
    if "://" in source:
        return source
    path = Path(source).expanduser().resolve()
    if not path.exists():
        raise ConfigError(f"--data: {path} does not exist.")
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def git_commit(folder: Path) -> str:
    """The commit that the project's folder is at, or nothing where it is in no repository."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
