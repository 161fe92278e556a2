"""The forms of Connhex files: CSV, a workbook, a one-page PDF, and a zip archive of several."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

__all__ = ["MEDIA_TYPES", "archive", "csv_line", "pdf", "workbook"]

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
    "zip": "application/zip",
}
Row = Sequence[str]

_OFFICE = "http://schemas.openxmlformats.org"
_MAIN = f"{_OFFICE}/spreadsheetml/2006/main"
_RELATIONS = f"{_OFFICE}/officeDocument/2006/relationships"
_PACKAGE_RELATIONS = f"{_OFFICE}/package/2006/relationships"
_SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_OFFICE}/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEET_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SHEET_TYPE}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE_RELATIONS}"><Relationship Id="r1" '
    f'Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}">'
    '<sheets><sheet name="Simulated" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE_RELATIONS}"><Relationship Id="r1" '
    f'Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}
_LINES_PER_PAGE = 56
_COLUMNS_PER_PAGE = 100


def csv_line(row: Row, delimiter: str, end: str) -> bytes:
    """One line; quotes as in RFC 4180. The delimiter may have any length, which the csv module cannot do."""
    cells = []
    for cell in row:
        special = (delimiter, '"', "\n", "\r")
        cells.append('"' + cell.replace('"', '""') + '"' if any(one in cell for one in special) else cell)
    return (delimiter.join(cells) + end).encode()


def workbook(rows: Sequence[Row]) -> bytes:
    """A workbook with one sheet of text cells."""
    lines = (
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{_xml(cell)}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    sheet = f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'
    declaration = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    parts = _PARTS | {"xl/worksheets/sheet1.xml": sheet}
    return archive({name: f"{declaration}{xml}".encode() for name, xml in parts.items()})


def _xml(text: str) -> str:
    # Most control characters cannot be in XML at all.
    return escape("".join(letter for letter in text if letter >= " " or letter in "\t\n\r"))


def archive(files: Mapping[str, bytes]) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in files.items():
            # A fixed time keeps the bytes the same from run to run.
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            book.writestr(entry, content)
    return buffer.getvalue()


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
