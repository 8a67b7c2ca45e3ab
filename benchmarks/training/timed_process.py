"""A command whose last word counts, even where its time was up before its end."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = '{"recipe"'


def last_result(
    command: list[Any], work: Path, most_seconds: float, surroundings: Mapping[str, str]
) -> dict[str, Any]:
    """The last line of JSON with a recipe that the command printed.

    Args:
        work: where it runs, and what it said is kept: out.txt and errors.txt.
        surroundings: environment variables beside those that are there.

    Returns:
        The line's content, with ``stopped_after_s`` where its time was up; or ``failed``, the end
        of what it said, where it ended with an error or without a result.
    """
    out, errors = work / "out.txt", work / "errors.txt"
    with out.open("w") as stdout, errors.open("w") as stderr:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=stdout,
            stderr=stderr,
            env=os.environ | dict(surroundings),
            cwd=work,
            start_new_session=True,  # its workers end with it
        )
        try:
            code: int | None = process.wait(most_seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    # A line that was being written when time was up has no end.
    lines = out.read_text(errors="replace").splitlines(keepends=True)
    found = [line for line in lines if line.startswith(MARK) and line.endswith("\n")]
    if code or not found:
        ended = "had no result in time" if code is None else f"ended with {code}"
        said = errors.read_text(errors="replace")[-2000:]
        return {"failed": f"{Path(str(command[1])).name} {ended}: {said}"}
    result: dict[str, Any] = json.loads(found[-1])
    return result | ({"stopped_after_s": most_seconds} if code is None else {})
