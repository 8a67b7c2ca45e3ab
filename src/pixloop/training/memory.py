"""Where memory runs out: say what to try, or have the next start learn batches in smaller parts.

::

    checkpoints/
      parts.json     in how many parts, and of which run, since memory ran out

The process that ran out writes it. The run then begins again, in processes of its own (see
``pipeline.launch``): what an error's frames and a GPU's allocator still hold cannot be had back for
certain in the same one. A run that is killed later goes on with these parts.
"""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from pixloop.config import Config
from pixloop.data.dataset import Dataset
from pixloop.errors import TrainingError
from pixloop.files import write_json
from pixloop.training.built_model import BuiltModel
from pixloop.training.distributed import largest, world
from pixloop.training.parts import Parts, fewest_pictures

PARTS = "parts.json"

#: What allocators that have no error of their own say: torch's on the CPU, cuDNN's, C++'s.
_RAN_OUT = re.compile("out of memory|(not enough|allocate) memory|alloc_failed|bad_alloc", re.I)

_log = logging.getLogger(__name__)


class BeginAgain(TrainingError):
    """Memory ran out. With the same checkpoints the next start learns batches in smaller parts."""


class Memory:
    """What a run's checkpoints know of memory that ran out.

    Attributes:
        parts: in how many parts each batch is learned, the same in all processes.
    """

    def __init__(
        self, config: Config, data: Dataset, built: BuiltModel, checkpoints: Path, fingerprint: str
    ) -> None:
        """``fingerprint``: of all that the run depends on besides."""
        self._config, self._file, self._fingerprint = config, checkpoints / PARTS, fingerprint
        fewest = fewest_pictures(built.network, built.fixed_statistics)
        pictures = len(data.split("train"))
        batches = -(-pictures // config.training.batch_size)
        # What every process has of every batch: all must learn in as many parts, since they
        # normalise together.
        self._pictures = pictures // batches // world()
        self._largest = -(-pictures // batches)  # batch of all processes together
        count = Parts(largest(self._read()), fewest).within(self._pictures)
        self.parts = Parts(count, fewest)
        if self.parts.count > 1:
            _log.warning(
                "Memory ran out before (%s): each batch of %d is learned in %d parts.",
                self._file,
                config.training.batch_size,
                self.parts.count,
            )

    @property
    def fingerprint(self) -> str:
        """That of the run with these parts: it goes on from checkpoints of such a one only."""
        count = self.parts.count
        return self._fingerprint if count == 1 else f"{self._fingerprint} in {count} parts"

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Say what to try where memory runs out, or a batch is too small.

        Raises:
            BeginAgain: memory ran out, and smaller parts are noted for the next start.
            TrainingError: it cannot be had in smaller parts, or is not wanted.
        """
        try:
            yield
        except ValueError as e:
            if "more than 1 value per channel" not in str(e):
                raise
            raise TrainingError(
                "A training step of a single picture is too little for this network's batch"
                " normalisation. Try training.batch_size=2, with two training pictures or more."
            ) from e
        except (RuntimeError, MemoryError) as e:
            if lost := _lost_loader(str(e)):
                raise TrainingError(lost) from e
            named = isinstance(e, (torch.OutOfMemoryError, MemoryError))
            if not named and not _RAN_OUT.search(str(e)):
                raise
            if "in DataLoader worker" in str(e):
                raise TrainingError(
                    "Memory ran out in a process that loads pictures. Try fewer training.workers"
                    " (0: none): each holds a few batches."
                ) from e
            raise self._run_out() from e

    def _run_out(self) -> TrainingError:
        settings = self._config.training
        size = f"model.image_size={self._config.model.image_size}"
        ran_out = f"Memory ran out with training.batch_size={settings.batch_size} and {size}"
        if self.parts.count > 1:
            ran_out += f", each batch in {self.parts.count} parts"
        smaller, half = self.parts.smaller(self._pictures), self._half()
        if smaller is not None and settings.out_of_memory == "split":
            write_json(self._file, {"fingerprint": self._fingerprint, "parts": smaller.count})
            return BeginAgain(f"{ran_out}. From the next start on it takes {smaller.count} parts.")
        if smaller is not None:
            return TrainingError(
                f"{ran_out}. Try training.batch_size={half}. Or training.out_of_memory=split: it"
                " learns each batch in smaller parts, with the same steps."
            )
        if self.parts.count == 1 and half is not None:
            return TrainingError(f"{ran_out}. Try training.batch_size={half}.")
        what = "a batch cannot be smaller" if self.parts.count == 1 else "there are no smaller ones"
        return TrainingError(
            f"{ran_out}: {what}. Try a smaller model.image_size, or a smaller network."
        )

    def _half(self) -> int | None:
        """The batch size that halves what a process has of a batch; None where none does."""
        batch = min(self._config.training.batch_size, self._largest)
        half = -(-batch // 2)
        is_less = -(-half // world()) < -(-batch // world())
        return half if is_less and half >= self.parts.fewest else None

    def _read(self) -> int:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            if found["fingerprint"] == self._fingerprint:
                return max(1, int(found["parts"]))
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError) as e:
            _log.warning("%s cannot be read (%s); batches are learned whole.", self._file, e)
        return 1


def _lost_loader(text: str) -> str | None:
    """What to say where torch reports that a process that loads pictures is gone."""
    if not re.search(r"DataLoader worker \(pid", text):
        return None
    if "shared memory" in text or "Bus error" in text:
        return (
            "A process that loads pictures found no room in shared memory (/dev/shm). Make it"
            " larger (docker run --shm-size=8g), or try fewer training.workers (0: none)."
        )
    return (
        "A process that loads pictures was ended by a signal (SIGKILL: by a person, or by the"
        " system because memory ran out). Try fewer training.workers; started again, training goes"
        f" on from its checkpoints. torch says: {text.splitlines()[0]}"
    )
