"""What came of verifying a deployment."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Failure:
    """A test that did not pass, and why, in words."""

    test: str
    message: str


@dataclass(frozen=True)
class VerificationResult:
    """How many tests passed, and which did not."""

    deployment: str  #: its name
    passed: int
    skipped: int
    failed: tuple[Failure, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the deployment answers as it should."""
        return not self.failed and self.passed > 0

    def to_json(self) -> dict[str, Any]:
        """For ``--json``.

        >>> VerificationResult("x", 1, 0, (), 0.1).to_json()["ok"]
        True
        """
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        """A line for each failure, and one for all."""
        lines = [f"{each.test}: {each.message}" for each in self.failed]
        verdict = "answers as certified" if self.ok else "does not answer as certified"
        counts = f"{self.passed} passed, {len(self.failed)} failed"
        return "\n".join([*lines, f"{self.deployment} {verdict}: {counts}."])
