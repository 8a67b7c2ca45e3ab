"""The answers that people checked, in the order in which that became known.

The order and what was said at first stay, for the test of quality looks at each once: what is
changed later is learned from, and does not rewrite what was tested.
"""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pixloop.config_loop import AnnotationConfig
from pixloop.data.annotations import AnnotationStore
from pixloop.errors import MonitoringError
from pixloop.files import write_text
from pixloop.monitoring.checking import check, judges
from pixloop.monitoring.observations import Observations
from pixloop.monitoring.quality import Checked

_ANSWERS = TypeAdapter(list[Checked])


class CheckedAnswers:
    """Of one version.

    Args:
        file: in which they are kept.
        annotations: the folder of what people said.
        settings: when what people said counts.

    Attributes:
        answers: all of them.
    """

    def __init__(self, file: Path, annotations: Path, settings: AnnotationConfig) -> None:
        self._file, self._settings = file, settings
        self._store = AnnotationStore(annotations)
        self.answers: list[Checked] = []
        self._searched: tuple[frozenset[str], int] = (frozenset(), 0)

    def load(self) -> None:
        """Read what was kept.

        Raises:
            MonitoringError: it is not what pixloop writes.
        """
        known = self._file.read_bytes() if self._file.is_file() else b"[]"
        try:
            self.answers = _ANSWERS.validate_json(known)
        except ValidationError as e:
            raise MonitoringError(
                f"{self._file} is not what pixloop writes. Remove it: the next look makes it anew "
                "of the annotations."
            ) from e

    def update(self, rows: Observations) -> None:
        """Add the observations whose picture people have answered for since.

        Raises:
            DataError: an annotation cannot be read.
        """
        resolved = self._store.resolved(self._settings.annotators, self._settings.agreement)
        truths = judges(resolved)
        known = {each.sha256 for each in self.answers}
        wanted = truths.keys() - known
        places = self._find(frozenset(wanted), rows)
        # In the order in which people answered.
        order = sorted(places, key=lambda sha256: (truths[sha256].at, sha256))
        found = rows.rows(places[sha256] for sha256 in order)
        fresh = [
            checked for row in found if (checked := check(row, truths[row.sha256])) is not None
        ]
        if fresh:
            self.answers = [*self.answers, *fresh]
            write_text(self._file, _ANSWERS.dump_json(self.answers).decode() + "\n")

    def _find(self, wanted: frozenset[str], rows: Observations) -> dict[str, int]:
        """Where the pictures were first observed; what was searched in vain is not again."""
        before, searched = self._searched
        first = searched if wanted <= before else 0
        places: dict[str, int] = {}
        if not wanted:
            return places
        number = first
        for table in rows.tables(["sha256"], first):
            for sha256 in table["sha256"].to_pylist():
                if sha256 in wanted:
                    places.setdefault(sha256, number)
                number += 1
        self._searched = wanted, rows.count
        return places
