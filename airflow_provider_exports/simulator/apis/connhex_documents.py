"""The forms of Connhex files that are its own: CSV with any delimiter, and a one-page PDF."""

from collections.abc import Sequence

__all__ = ["MEDIA_TYPES", "csv_line", "pdf"]

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
    "zip": "application/zip",
}
Row = Sequence[str]

_LINES_PER_PAGE = 56
_COLUMNS_PER_PAGE = 100


def csv_line(row: Row, delimiter: str, end: str) -> bytes:
    """One line; quotes as in RFC 4180. The delimiter may have any length, which the csv module cannot do."""
    cells = []
    for cell in row:
        special = (delimiter, '"', "\n", "\r")
        cells.append('"' + cell.replace('"', '""') + '"' if any(one in cell for one in special) else cell)
    return (delimiter.join(cells) + end).encode()


def pdf(rows: Sequence[Row]) -> bytes:
    """A page with the first rows as text."""
    shown = [("  ".join(row))[:_COLUMNS_PER_PAGE] for row in rows[:_LINES_PER_PAGE]]
    text = b"".join(b"(" + _pdf_text(line) + b") Tj T*\n" for line in shown)
    stream = b"BT /F1 9 Tf 13 TL 40 800 Td\n" + text + b"ET\n"
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page + b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%sendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
    ]
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    entries = b"".join(b"%010d 00000 n \n" % place for place in places)
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, entries)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(body))
    return body + table + trailer


def _pdf_text(line: str) -> bytes:
    raw = line.encode("cp1252", "replace")
    return raw.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
