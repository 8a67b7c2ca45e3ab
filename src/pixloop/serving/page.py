"""The page at ``/docs``: the OpenAPI document as one HTML file that loads nothing else."""

import json
import re
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from pixloop.bundle import Task

#: The page runs its own script and style and speaks to its own server, and to nothing else.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; img-src blob: data:; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}

#: A list of numbers, to which JSON gives a line each.
_NUMBERS = re.compile(r"\[([\d\s.,]+)\]")
_TEMPLATE = Path(__file__).with_name("page.html")


_MEANINGS: dict[Task, str] = {
    "classification": "`score` is a calibrated probability. `decision` is `accept` where it is "
    "sure enough, and `refer` where a person should look.",
    "detection": "`xyxy` are left, top, right and bottom edge, in pixels of the upright picture, "
    "whose `width` and `height` come with them. `score` is calibrated. `decision` is `accept` "
    "where it is sure enough, and `refer` where a person should look. Where nothing is found, "
    "`boxes` is empty.",
}


def render_page(document: dict[str, Any], task: Task) -> str:
    """The page for an OpenAPI document, as ``openapi_document`` makes it."""
    info, operation = document["info"], document["paths"]["/invocations"]["post"]
    schemas = document["components"]["schemas"]
    labelled = schemas["Box" if task == "detection" else "Prediction"]
    classes = labelled["properties"]["label"]["enum"]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        task=task,
        title=escape(info["title"]),
        summary=escape(info["summary"]),
        description=escape(info["description"]),
        version=escape(info["version"]),
        operations="".join(
            _operation(method, path, each)
            for path, methods in document["paths"].items()
            for method, each in methods.items()
        ),
        content_types="".join(
            f"<li><code>{escape(name)}</code></li>" for name in operation["requestBody"]["content"]
        ),
        responses="".join(
            f"<tr><td>{escape(status)}</td><td>{_inline(each['description'])}</td></tr>"
            for status, each in operation["responses"].items()
        ),
        classes=", ".join(f"<span>{escape(name)}</span>" for name in classes),
        example=escape(_example(info["title"], task, classes)),
        meaning=_inline(_MEANINGS[task]),
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    return (
        f'<li><b class="{escape(method)}">{escape(method.upper())}</b> '
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</li>"
    )


def _inline(text: str) -> str:
    """Plain text with `code` in backticks, as HTML."""
    parts = escape(text).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


def _example(model: str, task: Task, classes: list[str]) -> str:
    predict = _found if task == "detection" else _sure
    answer = {"model": model, "predictions": [predict(classes)]}
    text = json.dumps(answer, indent=2, ensure_ascii=False)
    return _NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text)


def _sure(classes: list[str]) -> dict[str, Any]:
    """A prediction that is sure of the first class."""
    rest = 0.03 / max(len(classes) - 1, 1)
    probabilities = {name: 0.97 if i == 0 else round(rest, 4) for i, name in enumerate(classes[:6])}
    return {
        "label": classes[0],
        "score": 0.97,
        "decision": "accept",
        "probabilities": probabilities,
    }


def _found(classes: list[str]) -> dict[str, Any]:
    """A detection of two boxes, one of them doubtful."""
    sure = {"score": 0.97, "xyxy": [38.5, 20.25, 176.0, 151.5], "decision": "accept"}
    unsure = {"score": 0.41, "xyxy": [301.0, 96.75, 340.5, 140.0], "decision": "refer"}
    boxes = [{"label": classes[0], **sure}, {"label": classes[-1], **unsure}]
    return {"boxes": boxes, "width": 640, "height": 480}
