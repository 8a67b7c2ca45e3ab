"""The process that explains answers: torch lives here, not in the pages' server.

It reads a JSON object a line, ``{"id", "bundle", "cache", "picture", "output"}``, and answers each
by lines of JSON with the same id: ``{"found": …}`` for every drawing, then ``{"done": …}``, or
``{"error": …}``. It ends when nobody is left to ask, or nobody has asked for long.
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pixloop.bundle import Bundle
from pixloop.errors import PixloopError

if TYPE_CHECKING:
    from pixloop.evaluation.explanations.explain import PictureExplainer

#: It holds the memory of torch and a network.
_IDLE_S = 900.0


def main() -> None:
    """Answer until the input ends."""
    answers = _take_output()
    with suppress(OSError):
        os.nice(5)  # pages come first
    asked: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(asked,), daemon=True).start()
    kept: dict[str, PictureExplainer] = {}
    with suppress(queue.Empty):
        while True:
            _answer(json.loads(asked.get(timeout=_IDLE_S)), kept, answers)


def _take_output() -> TextIO:
    """What is written for the server; whatever libraries print goes to the log."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return answers


def _read(asked: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        asked.put(line)
    os._exit(0)  # the server is gone; what is being computed is for nobody


def _answer(
    question: Mapping[str, Any], kept: "dict[str, PictureExplainer]", answers: TextIO
) -> None:
    try:
        done = _explain(question, kept, answers)
    except PixloopError as e:
        done = {"error": str(e)}
    except Exception as e:  # torch has many ways to fail, and the next picture may do better
        done = {"error": f"it failed: {type(e).__name__}: {e}"}
    _tell(answers, question, done)


def _explain(
    question: Mapping[str, Any], kept: "dict[str, PictureExplainer]", answers: TextIO
) -> dict[str, Any]:
    path = question["bundle"]
    if path not in kept:
        # torch and captum take seconds to import, and are why this is a process of its own.
        from pixloop.evaluation.explanations.explain import PictureExplainer

        kept.clear()  # one network at a time
        kept[path] = PictureExplainer(Bundle.open(Path(path)), Path(question["cache"]))
    explainer = kept[path]
    for each in explainer.explain([Path(question["picture"])], Path(question["output"])):
        if each.error is not None:
            return {"error": each.error}
        _tell(answers, question, {"found": each.model_dump(mode="json")})
    check = next(c for c in explainer.checks if c.method == explainer.method.name)
    return {"done": {"method": explainer.method.title, "pictures": check.pictures}}


def _tell(answers: TextIO, question: Mapping[str, Any], what: Mapping[str, Any]) -> None:
    answers.write(json.dumps({"id": question["id"], **what}) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
