"""Templates as HTML: every text is escaped, and one script is allowed, by its hash."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pixloop.evaluation.formats import count, percent, points, target


def render(template: str, **values: Any) -> Markup:
    """A template of ``templates/`` with its values; what is no Markup is escaped."""
    return Markup(environment().get_template(template).render(**values))  # noqa: S704  (escaped)


@cache
def environment() -> Environment:
    """Where the templates are, with the filters that they use."""
    environment = Environment(
        loader=PackageLoader("pixloop.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, target=target, count=count, points=points)
    environment.globals.update(script=_script(), policy=_policy())
    return environment


def _script() -> Markup:
    """The report's own script, as it stands in its file: its hash is that of its bytes."""
    file = files("pixloop.evaluation").joinpath("templates", "report.js")
    return Markup(file.read_text(encoding="utf-8"))  # noqa: S704  (our own file)


def _policy() -> str:
    """The content security policy: nothing from outside, and no script but the report's own.

    The hash is of what stands between the tags (Content Security Policy Level 3, section 6.7.3.3).
    """
    digest = b64encode(sha256(_script().encode()).digest()).decode()
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
