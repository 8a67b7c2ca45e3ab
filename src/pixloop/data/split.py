"""Which split a picture belongs to: decided by its content, so that it never moves.

A picture's SHA-256 gives two numbers in [0, 1). The first decides whether it is held out for the
test, the second, among the others, whether it is for validation or calibration. Neither depends on
other pictures. Near-duplicates share one key, and so one side.

One rule moves pictures: where a class has too few to reach every split by chance, ``fill_splits``
gives each split one, as far as they go. It looks at the source's own pictures alone, so that
annotations move none of them.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from pixloop.data.dataset import SplitName

#: Who comes first where a class has fewer pictures than there are splits.
PRIORITY: tuple[SplitName, ...] = ("train", "test", "validation", "calibration")
#: How many of the annotated pictures that were drawn at random are for the test.
ANNOTATED_TEST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Shares:
    """How large the splits are.

    Attributes:
        test: of all pictures; 0 where the source has its own test pictures.
        validation: of those that are not for the test.
        calibration: of those that are not for the test.
    """

    test: float
    validation: float
    calibration: float

    def wanted(self) -> tuple[SplitName, ...]:
        """The splits that get pictures, in order of priority.

        >>> Shares(0.0, 0.1, 0.1).wanted()
        ('train', 'validation', 'calibration')
        """
        sizes = {"test": self.test, "validation": self.validation, "calibration": self.calibration}
        return tuple(split for split in PRIORITY if sizes.get(split, 1.0) > 0)


def choose_split(key: str, shares: Shares) -> SplitName:
    """The split for a key of at least 32 hexadecimal digits.

    >>> choose_split("00" * 32, Shares(0.2, 0.1, 0.1))
    'test'
    >>> choose_split("ff" * 32, Shares(0.2, 0.1, 0.1))
    'train'
    """
    if _fraction(key[:16]) < shares.test:
        return "test"
    rest = _fraction(key[16:32])
    if rest < shares.validation:
        return "validation"
    if rest < shares.validation + shares.calibration:
        return "calibration"
    return "train"


def choose_annotated_split(key: str, drawn: str, near: AbstractSet[SplitName]) -> SplitName | None:
    """The split of a picture that only annotations bring, or None where it is to be left out.

    What was drawn at random judges: half for the test, the rest evenly for calibration and
    validation. What was chosen, for being hard, teaches: judged by such pictures a model would look
    worse than it is, and a threshold's promise would hold for other pictures than those to come.
    Near-duplicates stay on one side. What looks like a picture that judges never teaches.

    Args:
        key: at least 32 hexadecimal digits.
        drawn: ``"random"`` or ``"chosen"``.
        near: the splits of the pictures that look the same and were there before.

    >>> choose_annotated_split("00" * 32, "random", set())
    'test'
    >>> choose_annotated_split("00" * 32, "chosen", set())
    'train'
    >>> choose_annotated_split("00" * 32, "random", {"train"})
    'train'
    >>> choose_annotated_split("00" * 32, "chosen", {"test"})
    """
    if near:
        only = next(iter(near)) if len(near) == 1 else None
        return only if only == "train" or drawn == "random" else None
    if drawn == "chosen":
        return "train"
    if _fraction(key[:16]) < ANNOTATED_TEST_SHARE:
        return "test"
    return "calibration" if _fraction(key[16:32]) < 1 / 2 else "validation"


def fill_splits(
    members: Mapping[str, SplitName], wanted: Sequence[SplitName]
) -> dict[str, SplitName]:
    """What to move so that one class reaches every split, as far as its pictures go.

    A split without the class takes from the split that has the most; failing more than one
    there, from one of lower priority. The smallest key moves.

    Args:
        members: key → split, of one class.
        wanted: the splits that should have the class, in order of priority.

    >>> fill_splits({"a": "test", "b": "test"}, ["train", "test", "validation"])
    {'a': 'train'}
    """
    splits = dict(members)
    moves: dict[str, SplitName] = {}
    for place, split in enumerate(wanted):
        if split in splits.values():
            continue
        held = {s: sorted(k for k, v in splits.items() if v == s) for s in wanted}
        most = max(wanted, key=lambda s: len(held[s]))
        below = [s for s in reversed(wanted[place + 1 :]) if held[s]]
        donor = most if len(held[most]) > 1 else next(iter(below), None)
        if donor is None:
            break
        key = held[donor][0]
        splits[key] = moves[key] = split
    return moves


def _fraction(digits: str) -> float:
    return float(int(digits, 16) / 16 ** len(digits))
