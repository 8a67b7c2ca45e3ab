"""The page at ``/docs``: the OpenAPI document as one HTML file that loads nothing else."""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

#: The page runs its own script and style and speaks to its own server, and to nothing else.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; img-src blob: data:; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}

_TEMPLATE = Path(__file__).with_name("page.html")


def render_page(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document, as ``openapi_document`` makes it."""
    info, operation = document["info"], document["paths"]["/invocations"]["post"]
    prediction = document["components"]["schemas"]["Prediction"]["properties"]
    classes = prediction["label"]["enum"]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
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
        classes=", ".join(escape(name) for name in classes),
        example=escape(json.dumps(_example(info["title"], classes), indent=2, ensure_ascii=False)),
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


def _example(model: str, classes: list[str]) -> dict[str, Any]:
    """An answer that is sure of the first class."""
    rest = 0.03 / max(len(classes) - 1, 1)
    probabilities = {name: 0.97 if i == 0 else round(rest, 4) for i, name in enumerate(classes[:6])}
    return {
        "model": model,
        "predictions": [
            {
                "label": classes[0],
                "score": 0.97,
                "decision": "accept",
                "probabilities": probabilities,
            }
        ],
    }
