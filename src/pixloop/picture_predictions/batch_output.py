"""Where the answers of many parts are: a folder or a prefix on S3.

::

    answers/
      _plan          what is to be predicted, and by which model; written first
      part-00000.parquet …   the answers of each part, in the order of the pictures
      _summary.json           what they come to; written last

Each file appears whole. A part's answers do not depend on who computes them, so two processes
that write the same part write the same bytes.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from pixloop.errors import DataError
from pixloop.files import write_text
from pixloop.in_order import map_in_order
from pixloop.picture_predictions.part_answers import Facts, read_facts
from pixloop.picture_predictions.parts import Plan
from pixloop.picture_predictions.places import Stores, is_remote

PLAN = "_plan"
SUMMARY = "_summary.json"
_PART = re.compile(r"part-\d{5,}\.parquet")
#: Files whose ends are read at once, and how much of an end is asked for.
_AT_ONCE, _END = 16, 1 << 16
_PLAN_BLOCK = 1 << 20


class BatchOutput:
    """The output at an address. It may be asked by several threads."""

    def __init__(self, address: str, stores: Stores) -> None:
        self.address, self._store = address, stores.of(address)
        self._plan_stamp: str | None = None

    def lock(self) -> AbstractContextManager[None]:
        """Keeps other processes on this machine from the output; on S3 nothing does.

        Raises:
            DataError: another process has it, or the folder cannot be made.
        """
        return nullcontext() if is_remote(self.address) else _lock(Path(self.address))

    def open_plan(self) -> Plan | None:
        """The list that the output was begun with; None where it was not begun.

        Raises:
            DataError: something else is there.
        """
        plan = self._at(PLAN)
        self._plan_stamp = self._store.stamp(plan)
        if self._plan_stamp is not None:
            return Plan(self._store.open(plan, _PLAN_BLOCK), plan)
        if others := sorted(name for name in self._names() if _is_ours(name)):
            raise DataError(
                f"{self.address} holds {others[0]}, and no {PLAN}: 'pixloop predict' did not "
                "write it. Name an empty folder."
            )
        return None

    def clear(self) -> None:
        """Delete what earlier runs wrote, and nothing else."""
        there = self._names()
        parts = sorted(name for name in there if _PART.fullmatch(name))
        # In this order: parts without a plan would be nobody's.
        for names in ([SUMMARY], parts, [PLAN]):
            self._store.remove(self._at(name) for name in names if name in there)

    def publish_plan(self, local: Path) -> None:
        """Begin the output with a list, or put one there that has grown."""
        self._store.remove([self._at(SUMMARY)])  # it says that all is there
        self._store.publish(local, self._at(PLAN))

    def publish(self, local: Path, part: int) -> None:
        """Put a part's answers there.

        Raises:
            DataError: they cannot be written, or the output was begun anew meanwhile.
        """
        self.check()
        self._store.publish(local, self._at(part_name(part)))

    def check(self) -> None:
        """Raises DataError where the output was begun anew since ``open_plan``."""
        if self._store.stamp(self._at(PLAN)) != self._plan_stamp:
            raise DataError(
                f"{self.address} was begun anew meanwhile, by another process. This one stops."
            )

    def publish_summary(self, text: str) -> None:
        """Say that all is there."""
        with TemporaryDirectory() as folder:
            local = Path(folder) / SUMMARY
            write_text(local, text)
            self._store.publish(local, self._at(SUMMARY))

    def finished(self, plan: Plan) -> Iterator[Facts]:
        """What the files of answers to this list's parts say of themselves, in the parts' order.

        Files that are missing, of another list or not whole are passed over.
        """
        there, head = self._names(), plan.head
        parts = (number for number in range(head.parts) if part_name(number) in there)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for number, facts in map_in_order(pool, self._facts, parts, 2 * _AT_ONCE):
                known = head.identity_of(number), number
                if facts is not None and (facts.plan, facts.part) == known:
                    yield facts

    def _facts(self, part: int) -> tuple[int, Facts | None]:
        with self._store.open(self._at(part_name(part)), _END) as file:
            return part, read_facts(file)

    def _names(self) -> set[str]:
        return self._store.names(self.address)

    def _at(self, name: str) -> str:
        return f"{self.address}/{name}"


def part_name(number: int) -> str:
    """What the file of a part's answers is called.

    >>> part_name(7)
    'part-00007.parquet'
    """
    return f"part-{number:05}.parquet"


def _is_ours(name: str) -> bool:
    return name == SUMMARY or _PART.fullmatch(name) is not None


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout as e:
        raise DataError(f"another process is writing {folder}; wait for its end.") from e
    except OSError as e:
        raise DataError(f"{folder} cannot be written: {e.strerror}.") from e
    try:
        yield
    finally:
        lock.release()
