"""The bytes of a simulated file, small ones in memory, big ones made while they are sent."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["FileContent", "json_lines", "padded_lines"]

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class FileContent:
    """A file of known size: ``head`` once, then ``block`` so many ``times``, then ``tail``."""

    head: bytes = b""
    block: bytes = b""
    times: int = 0
    tail: bytes = b""

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.head) + len(self.block) * self.times + len(self.tail)

    def read(self) -> bytes:
        """The whole file; for small files and tests."""
        return b"".join(self.chunks())

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``stop`` in pieces that fit a socket buffer."""
        end = self.size if stop is None else min(stop, self.size)
        at = 0
        for piece in self._pieces():
            if at >= end:
                return
            part = memoryview(piece)[max(start - at, 0) : end - at]
            at += len(piece)
            for offset in range(0, len(part), CHUNK_BYTES):
                yield bytes(part[offset : offset + CHUNK_BYTES])

    def _pieces(self) -> Iterator[bytes]:
        yield self.head
        for _ in range(self.times):
            yield self.block
        yield self.tail


def json_lines(records: Iterable[dict[str, Any]]) -> bytes:
    """Records as JSON Lines: UTF-8, no byte order mark, each line ended by a line feed."""
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def padded_lines(head: bytes, lines: list[bytes], size: int, filler: bytes = b" ") -> FileContent:
    """A file of exactly ``size`` bytes that repeats the lines; the rest is one line of filler."""
    block = b"".join(lines)
    block *= max(1, CHUNK_BYTES // len(block))
    if size < len(head):
        return FileContent(head=filler * max(size - 1, 0) + b"\n" * min(size, 1))
    times, rest = divmod(size - len(head), len(block))
    tail = b""
    for line in lines * (rest // len(b"".join(lines)) + 1):
        if len(tail) + len(line) > rest:
            break
        tail += line
    rest -= len(tail)
    # White space after the last record keeps JSON Lines readable: parsers skip blank lines.
    return FileContent(head, block, times, tail + filler * max(rest - 1, 0) + b"\n" * min(rest, 1))
