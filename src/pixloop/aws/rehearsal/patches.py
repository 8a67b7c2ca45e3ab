"""Putting our functions in the place of moto's, and moto's back again."""

from collections.abc import Callable
from typing import Any


class Patches:
    """Attributes that were replaced; ``undo`` gives each what it had before."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def replace(self, owner: Any, name: str, value: Any) -> Any:
        """Set an attribute; gives what it was, or None where there was none."""
        # A class's own dictionary: what it inherits must not become its own.
        had = name in vars(owner)
        before = vars(owner).get(name)
        if had:
            self._undo.append(lambda: setattr(owner, name, before))
        else:
            self._undo.append(lambda: delattr(owner, name))
        setattr(owner, name, value)
        return before

    def undo(self) -> None:
        """Put everything back, the last change first."""
        while self._undo:
            self._undo.pop()()
