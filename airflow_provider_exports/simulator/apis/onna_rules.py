"""What an Onna export must look like to be taken, and what it must have to succeed."""

import re
from typing import Any

__all__ = ["option", "settings_gap", "valid_id", "wrong_fields"]

_ID = re.compile(r"[A-Za-z0-9.\-_@$^()+= ]+")

# Every key of the vendor's complete example; each block of options with the names in it.
_KEYS = (
    "name",
    "created_by",
    "exportType",
    "scope_uuid",
    "scope_query",
    "exclude_nist",
    "include_family",
    "dedupe_parents",
    "prefer_pdf",
    "message_context_days",
    "slack_as_single_message",
    "use_original_filename",
    "meta",
    "formattedMeta",
)
_BLOCKS = {
    "documentNumbering": ("fieldName", "prefix", "startNumber", "digits", "groupIdentifierField"),
    "volumeNumbering": ("prefix", "startNumber", "digits", "maxSize"),
    "subdirectoryNumbering": (
        "includeNatives",
        "exportTextSeparately",
        "textFileEncoding",
        "nativeFolderName",
        "textFolderName",
        "startNumber",
        "digits",
        "maxFilesPerFolder",
    ),
    "loadFileFormat": (
        "format",
        "encoding",
        "columnCharacter",
        "quoteCharacter",
        "newLineCharacter",
        "multivalueCharacter",
        "nestedCharacter",
    ),
}


def valid_id(name: object) -> bool:
    """Whether an object can have this id."""
    if not isinstance(name, str) or name in (".", "..") or name.startswith(("_", "@")):
        return False
    return _ID.fullmatch(name) is not None


def wrong_fields(fields: dict[str, Any]) -> dict[str, str]:
    """What is wrong with the form of title and settings, where they are sent."""
    errors = {}
    if not isinstance(fields.get("title", ""), str):
        errors["title"] = "Wrong type, expected a string"
    if not isinstance(fields.get("settings", []), list):
        errors["settings"] = "Wrong type, expected a list"
    return errors


def settings_gap(settings: object, depth: str) -> str | None:
    """The first thing that the settings of a successful export have and these lack."""
    if depth == "none":
        return None
    if not isinstance(settings, list) or len(settings) != 1 or not isinstance(settings[0], dict):
        return "settings must be a list of one object"
    only = settings[0]
    for name in (*_KEYS, *_BLOCKS):
        if name not in only:
            return f"settings[0] has no {name}"
    if depth == "all":
        for block, names in _BLOCKS.items():
            for name in names:
                if not isinstance(only[block], dict) or name not in only[block]:
                    return f"settings[0].{block} has no {name}"
    return None


def option(settings: dict[str, Any], block: str, name: str, default: Any) -> Any:
    """The value of one option, a small object whose ``value`` counts; the default if there is no such."""
    options = settings.get(block)
    found = options.get(name) if isinstance(options, dict) else None
    value = found.get("value") if isinstance(found, dict) else found
    return value if type(value) is type(default) else default
