"""What starts something by itself: one list, for a laptop and for AWS.

The tables in docs/architecture.md and what ``watching`` looks at are made of it; tests hold it
against the rules of the AWS stacks. The functions below say, without remembering anything, what
state a source of triggers is in: where the answer differs from the one before, something happened.
"""

import hashlib
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: The kinds of things that are started.
Starts = Literal["run", "review", "rollback", "deployment", "verification", "answer"]

_DIGEST_BYTES = 16
_MODULUS = 1 << (8 * _DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class Trigger:
    """Something that happens and that starts something.

    Attributes:
        name: as ``triggers.enabled`` in pixloop.yaml has it, where it can be turned on and off.
        what: what happens, in words; on AWS it is the ``trigger`` of the messages to the queue.
        here: what catches it on this machine.
        on_aws: what catches it on AWS.
        rule: the logical id of what catches it in ``stack``; empty where no resource does.
        stack: the template in aws/stacks, without its suffix.
        starts: the kind of thing that it starts.
        effect: what it starts, in words.
    """

    name: str
    what: str
    here: str
    on_aws: str
    rule: str
    stack: str
    starts: Starts
    effect: str


TRIGGERS: tuple[Trigger, ...] = (
    Trigger(
        "raw_data",
        "new raw data",
        "`pixloop watch`: names, sizes and times of the files below `data.train` and `data.test`",
        "EventBridge rule `NewRawData`: an object below `raw/` → queue `triggers`",
        "NewRawData",
        "learning",
        "run",
        "a run",
    ),
    Trigger(
        "annotations",
        "annotations updated",
        "`pixloop watch`: the digest of `.pixloop/annotations`; a hook of Label Studio wakes it, "
        "and every few minutes it asks anyway",
        "EventBridge rule `AnnotationsUpdated`: an object below `annotations/` → queue `triggers`",
        "AnnotationsUpdated",
        "learning",
        "run",
        "a run, from `triggers.annotations` new ones on",
    ),
    Trigger(
        "commit",
        "commit",
        "`pixloop watch`: git's HEAD in the project's folder",
        "CodePipeline `Release`, or the GitHub workflow that `pixloop aws github` prints",
        "Release",
        "learning",
        "run",
        "a run; on AWS image and stacks before it",
    ),
    Trigger(
        "schedule",
        "schedule",
        "`pixloop watch`: `triggers.every_s`",
        "EventBridge rule `OnSchedule` (`aws.schedule`) → queue `triggers`",
        "OnSchedule",
        "learning",
        "run",
        "a run, where anything has changed since the last",
    ),
    Trigger(
        "drift",
        "drift alarm",
        "`pixloop watch`: the alarms that `pixloop monitor` raises",
        "EventBridge rule `DriftAlarm`: the CloudWatch alarm → queue `triggers`",
        "DriftAlarm",
        "learning",
        "review",
        "pictures for review; a run once they are annotated, since the same data give the same "
        "model",
    ),
    Trigger(
        "quality",
        "quality alarm",
        "`pixloop watch`, with `promotion.automatic`",
        "CloudWatch alarm `Quality` → topic `Alarms`, by mail",
        "Quality",
        "serving",
        "rollback",
        "the champion before it; on AWS a person decides",
    ),
    Trigger(
        "version_approved",
        "version approved",
        "`pixloop serve`: the registry, every `serving.follow_s`",
        "EventBridge rule `VersionApproved` → function `on_approved`",
        "VersionApproved",
        "serving",
        "deployment",
        "its deployment",
    ),
    Trigger(
        "endpoint_deployed",
        "endpoint deployed",
        "`pixloop serve`: it is held against its certificate before it takes over",
        "EventBridge rule `EndpointDeployed` → function `on_deployed`",
        "EndpointDeployed",
        "serving",
        "verification",
        "verification, then the champion or a rollback",
    ),
    Trigger(
        "picture_uploaded",
        "picture uploaded",
        "a request to `pixloop serve`",
        "S3: an object below `in/` → queue `pictures` → function `answer_upload`",
        "Pictures",
        "serving",
        "answer",
        "an answer; on AWS below `out/`",
    ),
)

BY_NAME: Mapping[str, Trigger] = {trigger.name: trigger for trigger in TRIGGERS}


def describe(names: Sequence[str]) -> str:
    """Some triggers in words, for people.

    >>> describe(["raw_data", "schedule"])
    'new raw data, schedule'
    """
    return ", ".join(BY_NAME[name].what if name in BY_NAME else name for name in names)


def render_table() -> str:
    """The list as a table in Markdown, for docs/architecture.md."""
    lines = ["| trigger | caught here by | caught on AWS by | starts |", "|---|---|---|---|"]
    lines += [f"| {t.what} | {t.here} | {t.on_aws} | {t.effect} |" for t in TRIGGERS]
    return "\n".join(lines)


def folder_signature(place: Path) -> str:
    """What changes where a file below a folder comes, goes, grows or is written again.

    Names, sizes and times of change are looked at, no contents; files that are hidden are passed
    over, as Prepare does. A sum over hashes of the files needs no order, so that a million files
    take no more memory than ten; what takes time is asking the system, some 4 s for a million.

    Args:
        place: a folder, or one file such as an archive or a list of labels.

    Returns:
        The number of files and 32 hexadecimal digits; empty where nothing is there.
    """
    if not place.exists():
        return ""
    total = count = 0
    for name, stat in _files(place):
        text = f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}"
        digest = hashlib.blake2b(os.fsencode(text), digest_size=_DIGEST_BYTES).digest()
        total = (total + int.from_bytes(digest)) % _MODULUS
        count += 1
    return f"{count}-{total:0{2 * _DIGEST_BYTES}x}"


def raw_signature(places: Sequence[str | Path]) -> str:
    """The signatures of all the places that pictures come from; addresses elsewhere stay as text.

    What lies at an address is not looked at: what came from there is fetched once.
    """
    parts = [
        place if isinstance(place, str) and "://" in place else folder_signature(Path(place))
        for place in places
    ]
    return " ".join(parts)


def is_due(now_s: float, last_s: float | None, every_s: float | None) -> bool:
    """Whether a schedule's time has come; times in seconds since the epoch.

    A clock that was set back counts as time gone by: else a wrong date would stop it for years.
    """
    if every_s is None:
        return False
    return last_s is None or now_s - last_s >= every_s or now_s < last_s


def _files(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Files with their names from the place on; a folder that is inside itself is entered once."""
    if not place.is_dir():
        yield place.name, place.stat()
        return
    # Iterators, one a level: what is held does not grow with the number of files.
    levels = [(_scan(place), "", _identity(place))]
    try:
        while levels:
            entries, prefix, _ = levels[-1]
            entry = next(entries, None)
            if entry is None:
                levels.pop()
                continue
            # It may go while it is looked at.
            with suppress(OSError):
                if entry.name.startswith("."):
                    continue
                name = prefix + entry.name
                if not entry.is_dir():
                    yield name, entry.stat()
                    continue
                identity = _identity(entry.path)
                if all(identity != above for *_, above in levels):
                    levels.append((_scan(entry.path), f"{name}/", identity))
    finally:
        for entries, *_ in levels:
            entries.close()


def _scan(folder: str | Path) -> "Generator[os.DirEntry[str], None, None]":
    with suppress(OSError), os.scandir(folder) as entries:
        yield from entries


def _identity(folder: str | Path) -> tuple[int, int]:
    stat = Path(folder).stat()
    return stat.st_dev, stat.st_ino
