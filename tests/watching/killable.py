"""A watch in a process of its own, over a project whose state is a file: it can be killed.

python killable.py FOLDER [--once]
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pixloop.config_loop import TriggersConfig
from pixloop.files import write_json
from pixloop.watching.parts import Mark, OpenAlarm, Ran
from pixloop.watching.watcher import Watcher


class Parts:
    """``fake_parts.Parts``, but on disk; ``world`` is what the test changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _read(self, name: str) -> dict:
        return json.loads((self._folder / f"{name}.json").read_text())

    def mark(self, source: str, since: float) -> Mark:
        return Mark(str(self._read("world")["data"]) if source == "raw_data" else "")

    def look(self) -> list[OpenAlarm]:
        return [
            OpenAlarm(f"quality-{version}", "quality", version, "worse")
            for version in self._read("world")["alarms"]
        ]

    def sync(self) -> int:
        return 0

    def collect(self) -> int:
        return 0

    def busy(self) -> str:
        return ""

    def run(self, triggers: Sequence[str]) -> Ran:
        del triggers
        data = str(self._read("world")["data"])
        time.sleep(0.05)
        made = self._read("made")
        if data not in made["versions"]:
            write_json(self._folder / "made.json", made | {"versions": [*made["versions"], data]})
        time.sleep(0.05)
        version = str(self._read("made")["versions"].index(data) + 1)
        made = self._read("made")
        known = version in made["champions"] or version in made["rejected"]
        return Ran(version, not known, "better.")

    def champion(self) -> str | None:
        return (self._read("made")["champions"] or [None])[-1]

    def promote(self, version: str) -> None:
        made = self._read("made")
        if version not in made["champions"][-1:]:
            made["champions"].append(version)
            made["promotions"] += 1
            write_json(self._folder / "made.json", made)

    def roll_back(self, version: str, reason: str) -> str | None:
        made = self._read("made")
        if made["champions"][-1:] == [version]:
            made["champions"].pop()
            made["rollbacks"] += 1
            write_json(self._folder / "made.json", made)
        time.sleep(0.02)
        if version not in made["rejected"]:
            write_json(
                self._folder / "made.json", made | {"rejected": [*made["rejected"], version]}
            )
        return self.champion()

    def take_as_normal(self, version: str, since: str) -> bool:
        return True


if __name__ == "__main__":
    place = Path(sys.argv[1])
    settings = TriggersConfig(enabled=("raw_data",), look_s=0.02, settle_s=0.0)
    watched = Watcher(place / "watch", settings, Parts(place), automatic=True)
    print("ready", flush=True)
    print(watched.watch(once="--once" in sys.argv))
