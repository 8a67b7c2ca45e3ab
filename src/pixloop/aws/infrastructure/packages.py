"""The deployment packages of the Lambda functions: a module and what it imports, nothing more."""

import ast
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pixloop
from pixloop.errors import AwsError

_FUNCTIONS = "pixloop.aws.functions"
#: The earliest time that a zip can tell; real ones would make every package another.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def build_package(module: str) -> bytes:
    """The zip of a function: its module and exactly what that imports from pixloop.

    The same code gives the same bytes on every machine, so that its hash can be its name.

    Args:
        module: of ``pixloop.aws.functions``, such as ``"classify"``; its handler is
            ``pixloop.aws.functions.classify.handler``.

    Raises:
        AwsError: there is no such function.
    """
    name = f"{_FUNCTIONS}.{module}"
    sources = find_sources(name)
    if not sources:
        raise AwsError(f"there is no function {module!r}: {name} is no module of pixloop.")
    packed = io.BytesIO()
    # Stored, not deflated: they are small, and libraries differ in how they deflate.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as package:
        for source in sorted(sources.values()):
            entry = zipfile.ZipInfo(source.relative_to(_root()).as_posix(), _NO_TIME)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16  # Lambda's user must be able to read it
            package.writestr(entry, source.read_bytes())
    return packed.getvalue()


def find_sources(name: str) -> dict[str, Path]:
    """The files of a module, of its packages, and of all they import from pixloop, and so on.

    Imports inside functions count; those for type checkers alone do not.
    """
    found: dict[str, Path] = {}
    open_ = [name]
    while open_:
        module = open_.pop()
        source = _source(module)
        if module in found or source is None:
            continue
        found[module] = source
        open_.append(module.rpartition(".")[0])
        open_ += _imports(ast.parse(source.read_text(encoding="utf-8")))
    return found


def _imports(node: ast.AST) -> Iterator[str]:
    """The names that a piece of code imports from pixloop; a few may be no modules."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if _ours(alias.name))
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and _ours(node.module or ""):
        yield str(node.module)
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def _ours(module: str) -> bool:
    return module.partition(".")[0] == "pixloop"


def _root() -> Path:
    return Path(pixloop.__file__).parents[1]


def _source(module: str) -> Path | None:
    """The file of a module or package of pixloop; None where the name is something else."""
    if not _ours(module):
        return None
    place = _root().joinpath(*module.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None
