"""The best settings as the project's defaults: an edit of pixloop.yaml that keeps all else.

Only the values that change are replaced, where they stand; comments, order and quotes stay. A key
that is commented out with its default, as 'pixloop init' writes it, is set where it stands, too.
The edited text is read again, and is only written where it says exactly what it should.
"""

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pixloop.config import flatten
from pixloop.config_file import load_config, parse_config
from pixloop.errors import ConfigError
from pixloop.files import write_text

#: Begins the comment that names a study; an older one is replaced.
MARK = "# tuned: "


def edit_settings(text: str, settings: Mapping[str, Any], note: str) -> str:
    """The text of a pixloop.yaml with some keys at other values.

    Args:
        text: the file's.
        settings: dotted key of a section → value.
        note: stands in a comment above the changed keys of each section.

    Raises:
        ConfigError: the text cannot be edited so that it says this; the message says what to write.
    """
    ready = edited = _uncomment(text, settings)
    for section in dict.fromkeys(key.partition(".")[0] for key in settings):
        below = {
            key.partition(".")[2]: value
            for key, value in settings.items()
            if key.partition(".")[0] == section
        }
        try:
            edited = _edit_section(edited, section, below, note)
        except yaml.YAMLError:
            edited = ""  # all of it stands in one {}
            break
    _check(text, ready, edited, settings)
    return edited


def difference(before: str, after: str, name: str) -> str:
    """What an edit changes, as a unified diff."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), name, name, lineterm="", n=2
    )
    return "\n".join(lines)


def read(file: Path) -> str:
    """The text of a pixloop.yaml that is valid.

    Raises:
        ConfigError: it is not.
    """
    load_config(file)
    return file.read_bytes().decode("utf-8")


def write(file: Path, before: str, after: str) -> None:
    """Write an edited pixloop.yaml, unless it has changed since it was read.

    Raises:
        ConfigError: it has.
    """
    if file.read_bytes().decode("utf-8") != before:
        raise ConfigError(f"{file} has changed meanwhile, and was left as it is. Tune again.")
    # A link stays one, and a file keeps its mode.
    target, mode = file.resolve(), file.stat().st_mode
    write_text(target, after)
    target.chmod(mode & 0o777)


def _uncomment(text: str, settings: Mapping[str, Any]) -> str:
    """The text with those of the keys in use that are commented out with their default."""
    for setting in settings:
        section, _, key = setting.partition(".")
        if _value_node(text, section) is None:
            continue
        begin = _key_start(text, section)
        line = re.compile(rf"^( +)# ({re.escape(key)}: [^#\n]*)(#[^\n]*)?$", re.MULTILINE)
        found = line.search(text, begin)
        if found is None:
            continue
        indent, pair, about = found.groups(default="")
        # What is said of the key stays in its column.
        used = f"{indent}{pair}  {about}" if about else indent + pair
        taken = text[: found.start()] + used + text[found.end() :]
        if _is_in_use(text, taken, section, key):
            text = taken
    return text


def _is_in_use(before: str, after: str, section: str, key: str) -> bool:
    """Whether a text has this key in use that it had not, and says the same: its default.

    With another value it is somebody's note, which stays.
    """
    try:
        old, new = yaml.safe_load(before), yaml.safe_load(after)
        added = key in new[section] and key not in (old[section] or {})
        return added and flatten(parse_config(new)) == flatten(parse_config(old))
    except (yaml.YAMLError, ConfigError, KeyError, TypeError):
        return False


def _edit_section(text: str, section: str, values: Mapping[str, Any], note: str) -> str:
    node = _value_node(text, section)
    if isinstance(node, yaml.MappingNode) and node.flow_style:
        return _edit_flow(text, node, section, values, note)
    if isinstance(node, yaml.MappingNode):
        return _edit_block(text, node, section, values, note)
    new = "".join(f"  {key}: {_scalar(value)}\n" for key, value in values.items())
    if node is None:
        return text.rstrip("\n") + f"\n\n{section}:\n  {MARK}{note}\n{new}"
    # 'training:' with all below it commented out.
    at = _end_of_line(text, _key_start(text, section))
    head = text[:at] if text[:at].endswith("\n") else text[:at] + "\n"
    return f"{head}  {MARK}{note}\n{new}{text[at:]}"


def _edit_block(
    text: str, node: yaml.MappingNode, section: str, values: Mapping[str, Any], note: str
) -> str:
    """From the last place to the first, so that earlier places stay where they are."""
    places = {key.value: (key, value) for key, value in node.value}
    indent = " " * node.value[0][0].start_mark.column
    new = [f"{indent}{key}: {_scalar(v)}\n" for key, v in values.items() if key not in places]
    old = sorted(
        (key for key in values if key in places),
        key=lambda key: places[key][0].start_mark.index,
        reverse=True,
    )
    first = _line_start(text, node.value[0][0].start_mark.index)
    if old:
        first = _line_start(text, places[old[-1]][0].start_mark.index)
    for key in old:
        text = _replace(text, places[key][1], values[key])
    text = text[:first] + f"{indent}{MARK}{note}\n" + "".join(new) + text[first:]
    return _without_older(text, section, indent + MARK + note)


def _edit_flow(
    text: str, node: yaml.MappingNode, section: str, values: Mapping[str, Any], note: str
) -> str:
    places = {key.value: value for key, value in node.value}
    new = ", ".join(f"{key}: {_scalar(v)}" for key, v in values.items() if key not in places)
    for key in sorted(
        (key for key in values if key in places),
        key=lambda key: places[key].start_mark.index,
        reverse=True,
    ):
        text = _replace(text, places[key], values[key])
    if new:
        opened = node.start_mark.index + 1
        text = text[:opened] + new + (", " if places else "") + text[opened:]
    at = _line_start(text, _key_start(text, section))
    return text[:at] + f"{MARK}{note}\n" + text[at:]


def _without_older(text: str, section: str, kept: str) -> str:
    """The text without what an earlier search said in this section."""
    node = _value_node(text, section)
    assert node is not None  # noqa: S101  (it was just edited)
    begin, end = _key_start(text, section), node.end_mark.index
    lines = text[begin:end].splitlines(keepends=True)
    still = [
        line for line in lines if not line.strip().startswith(MARK) or line.rstrip("\r\n") == kept
    ]
    return text[:begin] + "".join(still) + text[end:]


def _value_node(text: str, section: str) -> yaml.Node | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101  (``read`` has loaded it)
    return next((value for key, value in root.value if key.value == section), None)


def _key_start(text: str, section: str) -> int:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101  (as above)
    start: int = next(key.start_mark.index for key, _ in root.value if key.value == section)
    return start


def _replace(text: str, node: yaml.Node, value: Any) -> str:
    """The text with another value in a node's place."""
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        # "key:\n  - a" becomes "key: [a]"; the node's end takes in what follows it.
        start, end = text.rindex(":", 0, start) + 1, node.value[-1].end_mark.index
        return text[:start] + " " + _scalar(value) + text[end:]
    new = _scalar(value)
    # What is said of the key on the same line stays in its column, where there is room.
    gap = re.match(r" +(?=#)", text[end:])
    if gap:
        room = max(1, len(gap[0]) - len(new) + (end - start))
        return text[:start] + new + " " * room + text[end + len(gap[0]) :]
    return text[:start] + new + text[end:]


def _scalar(value: Any) -> str:
    """A value as YAML's flow style, on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.strip().removesuffix("...").strip()


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _end_of_line(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _check(before: str, ready: str, after: str, settings: Mapping[str, Any]) -> None:
    """That the edit says what it should, and nothing else, with the comments that were ready."""
    meant = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    try:
        loaded, expected = yaml.safe_load(after), yaml.safe_load(before)
        same = flatten(parse_config(loaded)) == flatten(parse_config(expected, meant))
        kept = _comments(ready) <= _comments(after)
    except (yaml.YAMLError, ConfigError, TypeError):
        same = kept = False
    if not same or not kept:
        lines = "\n".join(f"  {key} = {_scalar(value)}" for key, value in settings.items())
        raise ConfigError(
            f"pixloop.yaml is written in a way that cannot be edited safely. Set by hand:\n{lines}"
        )


def _comments(text: str) -> set[str]:
    found = {m.group(0).strip() for m in re.finditer(r"(?:^|(?<=\s))#[^\n]*", text)}
    return {comment for comment in found if not comment.startswith(MARK)}
