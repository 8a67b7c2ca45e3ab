"""The server's log: a line an event, as JSON or as text, with a request's id.

Everything in the process that logs comes out in the same form, uvicorn's tracebacks included,
provided that uvicorn is told to configure no logging of its own (``log_config=None``).
"""

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from pixloop.serving.observing.observation import Exchange

#: Lines that may wait to be written. Beyond it they are lost: losing lines is better than
#: keeping answers waiting for whoever does not read them.
_MAX_WAITING = 10_000
_CLOSE_S = 2.0
_REASON_CHARACTERS = 500
_CLIENT_GONE, _OVERLOADED = 499, 503

_log = logging.getLogger("pixloop.serving")
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}


@contextmanager
def configured(
    log_format: Literal["auto", "text", "json"] = "auto", stream: TextIO | None = None
) -> Iterator[None]:
    """Log in one form as long as the context lasts: warnings, and what the server itself tells.

    Args:
        log_format: ``auto`` is text on a terminal, else JSON.
        stream: where to; standard error without one. A thread writes, so that a stream which
            takes nothing holds up nothing else; lines are then lost, and their number is logged.
    """
    stream = stream or sys.stderr
    as_text = stream.isatty() if log_format == "auto" else log_format == "text"
    handler = _StreamThread(stream, TextLines() if as_text else JsonLines())
    root, level = logging.getLogger(), _log.level
    root.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        _log.setLevel(level)
        handler.close()


class RequestLog:
    """Logs requests that failed, or all; an Observer. Bodies are never logged.

    A client that went away (499) is no failure. Refusals of an overloaded server (503) come by
    the thousand: the first is logged, then how many they were, at most once a second.
    """

    def __init__(self, log_all: bool) -> None:
        """``log_all``: also those that were answered, or whose client went away."""
        self._log_all = log_all
        self._refused = 0
        self._refused_at = -1.0

    def __call__(self, exchange: Exchange) -> None:
        """Log an exchange where it is to be."""
        status = exchange.status
        if self._refused and time.monotonic() >= self._refused_at + 1:
            self._log_refused()
        if status < 400 or status == _CLIENT_GONE:
            if self._log_all:
                message = "The client had gone." if status == _CLIENT_GONE else "Answered."
                _log.info(message, extra=_fields(exchange))
        elif status == _OVERLOADED:
            self._refuse(exchange)
        else:
            level = logging.ERROR if status >= 500 else logging.WARNING
            _log.log(level, "%s", _reason(exchange), extra=_fields(exchange))

    def close(self) -> None:
        """Log what was counted and not logged yet."""
        if self._refused:
            self._log_refused()

    def _refuse(self, exchange: Exchange) -> None:
        now = time.monotonic()
        if now >= self._refused_at + 1:
            self._refused_at = now
            _log.warning("%s", _reason(exchange), extra=_fields(exchange))
        else:
            self._refused += 1

    def _log_refused(self) -> None:
        more = {"status": _OVERLOADED, "count": self._refused}
        _log.warning("%d more requests were refused.", self._refused, extra=more)
        self._refused, self._refused_at = 0, time.monotonic()


def _fields(exchange: Exchange) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": exchange.request_id,
        "model": exchange.model,
        "status": exchange.status,
        "ms": round(exchange.total_s * 1000, 2),
    }
    if exchange.work_s:
        fields["queue_ms"] = round(exchange.queue_s * 1000, 2)
        fields["work_ms"] = round(exchange.work_s * 1000, 2)
        fields["pictures"] = len(exchange.predictions)
        fields["batch"] = exchange.batch
    return fields


def _reason(exchange: Exchange) -> str:
    """What the answer's problem document says is wrong."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(exchange.answer)["detail"])[:_REASON_CHARACTERS]
    return "The request failed."


class JsonLines(logging.Formatter):
    """A JSON object a record, in ASCII: no character of a client's can break the line."""

    def format(self, record: logging.LogRecord) -> str:
        """The object: time (ISO 8601, UTC), level, logger, message, the record's own fields."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().strip(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """A line a record, for people; a traceback follows it, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, then the record's own fields as ``name=value``."""
        fields = "".join(f" {name}={_plain(value)}" for name, value in _extra(record).items())
        text = f"{_time(record)} {record.levelname:7} {record.getMessage().strip()}{fields}"
        lines = [_printable(text)]
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            lines += [f"  {_printable(line)}" for line in trace]
        return "\n".join(lines)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """The record's own fields, but for what libraries hide in every record, as Ray does."""
    own = vars(record).items()
    return {k: v for k, v in own if k not in _STANDARD and not k.startswith("_")}


def _plain(value: Any) -> str:
    """A field's value, in quotes where it could pass for more than one field."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(' ="') or not text else text


def _printable(text: str) -> str:
    """Control characters escaped: those that break lines, move the cursor or turn the text."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _StreamThread(logging.Handler):
    """Formats where it is called, and writes in a thread."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(_MAX_WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._lost += 1
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        with suppress(queue.Full):
            self._lines.put(None, timeout=_CLOSE_S)
        self._thread.join(_CLOSE_S)
        super().close()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            if self._lost:
                line = f"{line}\n{self._say_lost()}"
            # Where the log itself cannot be written, there is nobody to tell.
            with suppress(OSError, ValueError):
                self._stream.write(line + "\n")
                self._stream.flush()

    def _say_lost(self) -> str:
        self.acquire()
        lost, self._lost = self._lost, 0
        self.release()
        message = f"{lost} lines of this log were lost: nobody read them in time."
        return self.format(
            logging.LogRecord(_log.name, logging.WARNING, "", 0, message, None, None)
        )
