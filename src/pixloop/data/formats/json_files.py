"""JSON label files: what kind one is, told from its beginning, and reading it."""

import json
import re
from pathlib import Path
from typing import Any

from pixloop.errors import DataError

_HEAD_CHARACTERS = 1_000_000
_OBJECT = re.compile(r'\s*\{\s*"')
_LIST = re.compile(r"\s*\[\s*(?=\{)")
_IMAGES = re.compile(r'"images"\s*:\s*\[')


def is_coco(file: Path) -> bool:
    """Whether a JSON file is an object with a list of images; large ones are not read in whole."""
    head = _head(file)
    if not _OBJECT.match(head):
        return False
    if _IMAGES.search(head):
        return True
    if len(head) < _HEAD_CHARACTERS:
        return False
    try:
        whole = read_json(file)
    except DataError:
        return False
    return isinstance(whole, dict) and isinstance(whole.get("images"), list)


def is_label_studio(file: Path) -> bool:
    """Whether a JSON file is a list of tasks; only the first one is looked at."""
    head = _head(file)
    opening = _LIST.match(head)
    if opening is None:
        return False
    try:
        first, _ = json.JSONDecoder().raw_decode(head, opening.end())
    except (ValueError, RecursionError):
        return False
    return isinstance(first.get("data"), dict) or "annotation_id" in first


def read_json(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it cannot be read, is not UTF-8, or not JSON.
    """
    try:
        return _parse(file)
    except UnicodeDecodeError as e:
        raise DataError(f"{file} is not UTF-8: {e}. Save it as UTF-8.") from e
    except OSError as e:
        raise DataError(f"{file} cannot be read: {e.strerror}.") from e
    except (ValueError, RecursionError) as e:
        raise DataError(f"{file} is not valid JSON: {e}") from e


def _parse(file: Path) -> Any:
    with file.open(encoding="utf-8-sig") as text:
        return json.load(text)


def _head(file: Path) -> str:
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as text:
            return text.read(_HEAD_CHARACTERS)
    except OSError as e:
        raise DataError(f"{file} cannot be read: {e.strerror}.") from e
