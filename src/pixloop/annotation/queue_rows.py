"""The rows of the review queue's database, and the records that they stand for."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np

from pixloop.annotation.items import Candidate, Item, Reason

SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures (
    sha256 TEXT PRIMARY KEY, answer TEXT NOT NULL, model TEXT NOT NULL, at TEXT NOT NULL,
    embedding BLOB NOT NULL, origin TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'waiting',
    drawn TEXT, turn INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS by_status ON pictures (status, turn);
CREATE INDEX IF NOT EXISTS by_status_and_name ON pictures (status, sha256);
CREATE TABLE IF NOT EXISTS reasons (
    sha256 TEXT NOT NULL REFERENCES pictures, kind TEXT NOT NULL, detail TEXT NOT NULL,
    weight REAL NOT NULL, PRIMARY KEY (sha256, kind)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_weight ON reasons (weight DESC, sha256, kind);
CREATE TABLE IF NOT EXISTS collected (source TEXT PRIMARY KEY, rows INTEGER NOT NULL);
"""
#: Of a picture, in the order of ``to_row`` and ``read_items``.
COLUMNS = "sha256, answer, model, at, embedding, origin, status, drawn"


def to_row(candidate: Candidate) -> list[Any]:
    """A candidate as the first six of ``COLUMNS``."""
    return [
        candidate.sha256,
        json.dumps(candidate.answer),
        candidate.model,
        candidate.at,
        np.asarray(candidate.embedding, "<f4").tobytes(),
        json.dumps(candidate.origin),
    ]


def merge_reason(db: sqlite3.Connection, sha256: str, reason: Reason) -> None:
    """Of a kind, the weightiest reason is kept."""
    db.execute(
        "INSERT INTO reasons VALUES (?, ?, ?, ?) ON CONFLICT (sha256, kind) DO UPDATE SET "
        "detail = excluded.detail, weight = excluded.weight WHERE excluded.weight > weight",
        [sha256, reason.kind, reason.detail, reason.weight],
    )


def read_items(db: sqlite3.Connection, where: str, values: list[Any]) -> Iterator[Item]:
    """The pictures that SQL's ``where``, and what follows it, selects."""
    rows = db.execute(f"SELECT {COLUMNS} FROM pictures {where}", values).fetchall()  # noqa: S608
    for sha256, answer, model, at, embedding, origin, status, drawn in rows:
        reasons = db.execute(
            "SELECT kind, detail, weight FROM reasons WHERE sha256 = ? ORDER BY weight DESC, kind",
            [sha256],
        )
        yield Item(
            sha256,
            tuple(Reason(*reason) for reason in reasons),
            json.loads(answer),
            model,
            at,
            tuple(np.frombuffer(embedding, "<f4").tolist()),
            json.loads(origin),
            status,
            drawn,
        )


def weightiest(items: list[Item], most: int) -> list[Item]:
    """The items by weight; those in the draw are never left out."""
    ranked = sorted(items, key=lambda i: (-max(i.weight, i.ticket or 0.0), i.sha256))
    if len(ranked) <= most:
        return ranked
    drawn = [item for item in ranked if item.ticket is not None]
    others = [item for item in ranked if item.ticket is None]
    return drawn + others[: max(0, most - len(drawn))]
