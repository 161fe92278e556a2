"""An invented past of chats per room, and the files made of it; nobody in it exists."""

import csv
import io
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_exports.simulator import documents
from airflow_provider_exports.simulator.content import FileContent, padded_lines

__all__ = ["MEDIA_TYPES", "file_content", "has_rows"]

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# The vendor does not publish its columns; the prefix says that these are made up.
LOGS_HEADER = (
    "simulated_chat_id",
    "simulated_started_at",
    "simulated_ended_at",
    "simulated_visitor_messages",
    "simulated_operator_messages",
    "simulated_first_message",
)
STATS_HEADER = ("simulated_day", "simulated_chats", "simulated_real_conversations", "simulated_messages")

_EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
_GRID = timedelta(hours=6)
_LONGEST_CHAT = timedelta(minutes=90)
_MOST_ROWS = 20_000
_OPENINGS = ("Do you ship to islands?", "My order is late", "Größe M, bitte", "Hello", "Is it open, today?")


@dataclass(frozen=True)
class _Chat:
    id: str
    started_at: datetime
    ended_at: datetime
    visitor_messages: int
    operator_messages: int
    opening: str

    @property
    def is_real(self) -> bool:
        """Both sides wrote; the vendor does not publish its own rule."""
        return self.visitor_messages > 0 and self.operator_messages > 0


def file_content(request: dict[str, Any], notes: dict[str, Any]) -> FileContent:
    """The file of one export; the same request gives the same bytes."""
    rows = _rows(request, notes)
    if not rows and notes["empty_result"] == "zero_bytes":
        return FileContent()
    header = LOGS_HEADER if request["type"] == "logs" else STATS_HEADER
    if request["format"] == "xlsx":
        return FileContent(head=documents.workbook([header, *rows]))
    if request["format"] == "txt":
        head, lines = b"", [_transcript(row).encode() for row in rows]
    else:
        head, lines = _csv([header]), [_csv([row]) for row in rows]
    if notes["bytes"] is None:
        return FileContent(head=head + b"".join(lines))
    return padded_lines(head, lines or [b"\n"], notes["bytes"])


def has_rows(request: dict[str, Any], notes: dict[str, Any]) -> bool:
    """Whether the export has any result."""
    return bool(_rows(request, notes))


def _rows(request: dict[str, Any], notes: dict[str, Any]) -> list[tuple[str, ...]]:
    if request["type"] == "stats":
        return _stats_rows(request, notes)
    return [
        (
            chat.id,
            _utc(chat.started_at),
            _utc(chat.ended_at),
            str(chat.visitor_messages),
            str(chat.operator_messages),
            chat.opening,
        )
        for chat in _selected(request, notes)
    ]


def _selected(request: dict[str, Any], notes: dict[str, Any]) -> list[_Chat]:
    start, end, wanted = request["starting_at"], request["ending_at"], notes["rows"]
    if wanted is not None:
        step = (end - start) / max(wanted, 1)
        return [_chat(request["room_id"], n, start + step * n) for n in range(wanted)]
    found = []
    for chat in _past(request["room_id"], start - _LONGEST_CHAT, end):
        real, least = request["is_real_conversation"], request["min_message_count"] or 0
        if not _in_range(chat, start, end, notes["membership"]) or real not in (None, chat.is_real):
            continue
        if chat.visitor_messages + chat.operator_messages >= least:
            found.append(chat)
    return found


def _in_range(chat: _Chat, start: datetime, end: datetime, membership: str) -> bool:
    if membership == "both":
        return start <= chat.started_at and chat.ended_at < end
    return start <= (chat.ended_at if membership == "end" else chat.started_at) < end


def _past(room_id: str, start: datetime, end: datetime) -> Iterator[_Chat]:
    """One chat per grid cell, so that neighbouring time ranges never disagree about a chat."""
    first = (start - _EPOCH) // _GRID
    for number in range(first, min((end - _EPOCH) // _GRID + 1, first + _MOST_ROWS)):
        within = random.Random(f"{room_id}|{number}|time").random()
        yield _chat(room_id, number, _EPOCH + _GRID * (number + within))


def _chat(room_id: str, number: int, started_at: datetime) -> _Chat:
    source = random.Random(f"{room_id}|{number}")
    return _Chat(
        id=str(uuid.uuid5(uuid.UUID(room_id), str(number))),
        started_at=started_at,
        ended_at=started_at + _LONGEST_CHAT * source.uniform(0.02, 1),
        visitor_messages=source.randrange(0, 8),
        operator_messages=source.randrange(0, 8),
        opening=source.choice(_OPENINGS),
    )


def _stats_rows(request: dict[str, Any], notes: dict[str, Any]) -> list[tuple[str, ...]]:
    start, end = request["starting_at"], request["ending_at"]
    days = -((start - end) // timedelta(days=1)) if notes["rows"] is None else notes["rows"]
    rows: list[tuple[str, ...]] = []
    for number in range(min(days, _MOST_ROWS)):
        day = f"{start + timedelta(days=number):%Y-%m-%d}"
        source = random.Random(f"{request['room_id']}|{day}")
        chats = source.randrange(0, 40)
        rows.append((day, str(chats), str(source.randint(0, chats)), str(chats * source.randrange(1, 9))))
    return rows


def _csv(rows: list[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _transcript(row: tuple[str, ...]) -> str:
    return f"[{row[1]} - {row[2]}] chat {row[0]}\nVisitor: {row[5]}\nOperator: (invented answer)\n\n"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
