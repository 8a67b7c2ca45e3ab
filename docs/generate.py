"""Write docs/configuration.md and docs/commands.md from the code; a test holds them against it."""

from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pixloop.cli.app import app
from pixloop.config import Config

HERE = Path(__file__).parent


def render_configuration() -> str:
    """The reference of pixloop.yaml."""
    lines = [
        "# pixloop.yaml",
        "",
        "Every key, its default and its meaning. Only `task` and `data` have no default; "
        "`data: pictures` is short for `data: {train: pictures}`. Any key can be set for one run: "
        "`pixloop run --set training.epochs=3`.",
        "",
        *_table({k: f for k, f in Config.model_fields.items() if not _is_section(f)}),
    ]
    for name, info in Config.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += ["", f"## {name}", "", (section.__doc__ or "").strip(), ""]
            lines += _table(section.model_fields)
    return "\n".join(lines) + "\n"


def render_commands() -> str:
    """The reference of the command line."""
    root = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "Every command takes `--help` and `--json`. Results go to standard output, progress and "
        "errors to standard error. Exit codes: 0 well, 1 failed, 2 wrong use or configuration, "
        "3 refused by the gate.",
    ]
    for path, command in _walk(root, "pixloop"):
        context = command.context_class(command, info_name=path)
        about = (command.help or "").strip().replace("\b", "")
        lines += ["", f"## {path}", "", about, "", "| argument or option | meaning |", "|---|---|"]
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context) or (parameter.make_metavar(context), "")
            help_ = record[1] or getattr(parameter, "help", "") or ""
            lines.append(f"| `{_cell(record[0])}` | {_cell(help_)} |")
    return "\n".join(lines) + "\n"


def _walk(command: Any, path: str) -> list[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        return [(path, command)]
    return [
        found
        for name, inner in command.commands.items()
        for found in _walk(inner, f"{path} {name}")
    ]


def _is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)


def _table(fields: dict[str, FieldInfo]) -> list[str]:
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, info in fields.items():
        default = "" if info.is_required() else f"`{_plain(info.get_default())}`"
        rows.append(f"| `{name}` | {default} | {_cell(info.description or '')} |")
    return rows


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    (HERE / "configuration.md").write_text(render_configuration(), encoding="utf-8")
    (HERE / "commands.md").write_text(render_commands(), encoding="utf-8")
