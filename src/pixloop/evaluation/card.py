"""The model card: what a model is for, what it was made of, how good it is, where it ends.

Mitchell et al. 2019, "Model Cards for Model Reporting". What was measured comes from
evaluation.json; what only people know comes from pixloop.yaml's ``card``, and what they did not say
is said to be missing. One page in HTML to print, one in Markdown with the metadata that Hugging
Face's hub reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pixloop import __version__
from pixloop.config import Config
from pixloop.evaluation.card_metadata import metadata
from pixloop.evaluation.card_parts import describe
from pixloop.evaluation.page import Answers, Evidence
from pixloop.evaluation.rendering import render
from pixloop.evaluation.verdict import conclude
from pixloop.files import write_text

CARD, CARD_MARKDOWN = "model_card.html", "model_card.md"


def write_card(
    summary: Mapping[str, Any], evidence: Evidence[Answers], config: Config, output: Path
) -> None:
    """Write model_card.html and model_card.md into a folder.

    Args:
        summary: the ``pixloop`` section of evaluation.json.
        evidence: what the report shows beside it.
        config: ``card`` is what people say of the model.
        output: the folder.
    """
    values = {
        "s": summary,
        "manifest": evidence.manifest,
        "verdict": conclude(summary, evidence.sections),
        "parts": describe(summary, evidence, config.card),
        "version": __version__,
    }
    write_text(output / CARD, render("card.html", **values))
    front = yaml.safe_dump(
        metadata(summary, evidence.manifest, config.card), sort_keys=False, allow_unicode=True
    )
    write_text(output / CARD_MARKDOWN, f"---\n{front}---\n\n{_markdown(values)}")


def _markdown(values: Mapping[str, Any]) -> str:
    """The card below its metadata. Nothing in it is HTML: what could be is escaped."""
    summary, verdict = values["s"], values["verdict"]
    lines = [f"# {_plain(summary['name'])}", "", f"**{verdict.words}.** "]
    lines[-1] += _plain(" ".join(verdict.sentences))
    for part in values["parts"]:
        lines += ["", f"## {part.title}", ""]
        lines += [line for text in part.texts for line in (_plain(text), "")]
        if part.key:
            lines += [f"*Nobody has said. Fill in `{part.key}` in pixloop.yaml.*", ""]
        if part.rows:
            lines.append(f"| {' | '.join(map(_plain, part.head))} |")
            lines.append(f"|{'---|' * len(part.head)}")
            lines += [f"| {' | '.join(map(_plain, row))} |" for row in part.rows]
        lines += [f"- {_plain(point)}" for point in part.points]
    lines += ["", f"Written by pixloop {values['version']}."]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    r"""Text as Markdown shows it, whatever stands in it.

    >>> _plain("a|b <script>")
    'a\\|b &lt;script&gt;'
    """
    escaped = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\|`*_[]":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
