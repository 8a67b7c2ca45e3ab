"""The templates of the stacks, and the state machine's definition, as they lie beside this file."""

from importlib.resources import files


def read_text(name: str) -> str:
    """A file of this folder, such as ``learning.yaml``."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
