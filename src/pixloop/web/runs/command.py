"""The command that a form stands for."""

import shlex
from collections.abc import Sequence

from pixloop.project import Project


def run_arguments(project: Project, changes: Sequence[str]) -> tuple[str, ...]:
    """What follows ``pixloop`` in the command that runs with changes."""
    changed = {change.partition("=")[0] for change in changes}
    kept = [each for each in project.overrides if each.partition("=")[0].strip() not in changed]
    return ("run", *(f"--set={change}" for change in (*kept, *changes)))


def run_command(arguments: Sequence[str]) -> str:
    """The same as one would type it.

    >>> run_command(["run", "--set=training.epochs=3"])
    'pixloop run --set training.epochs=3'
    """
    typed: list[str] = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        # A value that begins with a dash would be taken for an option.
        typed += [option, value] if option.startswith("--") and equals else [argument]
    return shlex.join(["pixloop", *typed])
