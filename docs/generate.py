"""Write configuration.md, commands.md, models.md and the table of triggers in architecture.md from
the code; tests hold them against it.
"""

from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pixloop.cli.app import app
from pixloop.config import TASK_DEFAULTS, Config
from pixloop.pipeline.triggers import render_table
from pixloop.training.models import DETECTORS

HERE = Path(__file__).parent
#: Between these lines of architecture.md is what is written from the code.
BEGIN, END = "<!-- triggers: written by docs/generate.py -->", "<!-- end of triggers -->"


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
            lines += _table(section.model_fields, name)
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


def render_models() -> str:
    """The models that there are."""
    lines = [
        "# Models",
        "",
        "**Classification**: `model.name` is any timm model; `timm.list_models()` lists them.",
        "",
        "**Detection**: `model.name` is one of these. `model.image_size` is any multiple of 32. A "
        "detector starts from the first of these that there is: the file that `model.weights` "
        "names (a whole detector's state_dict, or that of its backbone's classifier, with "
        "torchvision's names); weights trained on COCO; its backbone's, trained on ImageNet; "
        "random weights, with a warning.",
        "",
        "| `model.name` | what it is | parameters | backbone | COCO weights |",
        "|---|---|---|---|---|",
    ]
    for name, family in DETECTORS.items():
        parameters = sum(p.numel() for p in family.build(91).parameters()) / 1e6
        coco = "yes" if family.coco_url else "no"
        cells = name, family.description, parameters, family.backbone, coco
        lines.append("| `{}` | {} | {:.1f} M | `{}` | {} |".format(*cells))
    return "\n".join(lines) + "\n"


def render_architecture(page: str) -> str:
    """The page with the table of triggers as the code has it."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{render_table()}\n{END}{after}"


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


def _table(fields: dict[str, FieldInfo], section: str = "") -> list[str]:
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, info in fields.items():
        default = "" if info.is_required() else _code(info.get_default(call_default_factory=True))
        for task, defaults in TASK_DEFAULTS.items():
            if f"{section}.{name}" in defaults:
                default += f"; {task}: {_code(defaults[f'{section}.{name}'])}"
        rows.append(f"| `{name}` | {default} | {_cell(info.description or '')} |")
    return rows


def _code(value: object) -> str:
    plain = _plain(value)
    return f"`{plain}`" if plain else ""


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
    (HERE / "models.md").write_text(render_models(), encoding="utf-8")
    architecture = HERE / "architecture.md"
    page = architecture.read_text(encoding="utf-8")
    architecture.write_text(render_architecture(page), encoding="utf-8")
