"""Invented workspaces, their datasources and what was collected from these; nobody in it exists."""

import hashlib
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

__all__ = ["DATASOURCES", "DATASOURCE_TYPES", "WORKSPACES", "Datasource", "Resource", "Workspace", "families"]

_SOURCES = """
    Confluence Hangouts Zendesk Onedrive Github Imap Salesforce Jira Bridge Dropbox Twitter Slack S3 GDrive
    Static Box Quip MsTeams Crawler MGraphMail Workplace GMail Sharepoint SlackE
"""
DATASOURCE_TYPES = tuple(f"{name}Datasource" for name in _SOURCES.split())

_SPACE = uuid.UUID("3b0e6a52-4a4e-49b1-8d0f-51e0a11ce005")
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
_PEOPLE = ("ada@example.com", "björn@example.com", "chen@example.com", "dilnoza@example.com")
_TEXTS = (
    "Shall we meet on Monday?",
    "The draft, as agreed; see page 3",
    'He said "maybe"',
    "Größere Änderungen",
    "ok\nthanks",
)


@dataclass(frozen=True)
class Workspace:
    """A workspace; ``slug`` is the end of its address."""

    slug: str
    title: str

    @property
    def uid(self) -> str:
        """Unique id."""
        return _uid("workspace", self.slug)


@dataclass(frozen=True)
class Datasource:
    """A source of a workspace; what is collected from it has the type ``resource_type``."""

    slug: str
    title: str
    type_name: str
    workspace: str
    resource_type: str
    extension: str

    @property
    def uid(self) -> str:
        """Unique id."""
        return _uid("datasource", self.slug)


_MATTER = Workspace("matter-2041-x7KpQd", "Matter 2041")
_ARCHIVE = Workspace("weekly-archive-T3mWzs", "Weekly archive")
WORKSPACES = (_MATTER, _ARCHIVE)
DATASOURCES = tuple(
    Datasource(slug, title, type_name, workspace.slug, resource_type, extension)
    for slug, title, type_name, workspace, resource_type, extension in (
        ("slack-company", "Slack of the company", "SlackEDatasource", _MATTER, "ESlackResource", "json"),
        ("shared-mailbox", "Shared mailbox", "GMailDatasource", _MATTER, "MailResource", "eml"),
        ("slack-support", "Slack of the support", "SlackEDatasource", _ARCHIVE, "ESlackResource", "json"),
        ("tickets", "Tickets", "JiraDatasource", _ARCHIVE, "JiraResource", "html"),
    )
)


@dataclass(frozen=True)
class Resource:
    """One collected document; an attachment has its parent's uid in ``parent_uid``."""

    uid: str
    name: str
    title: str
    datasource: Datasource
    modified_at: datetime
    author: str
    extension: str
    text: str
    parent_uid: str | None = None

    @property
    def type_name(self) -> str:
        """Attachments are plain files."""
        return "FileResource" if self.parent_uid else self.datasource.resource_type

    def metadata(self) -> dict[str, Any]:
        """Values of the metadata columns that an invented document has; a tuple has several."""
        raw = self.text.encode()
        return {
            "title": self.title,
            "resource_name": self.name,
            "content_type": f"application/x-simulated-{self.extension}",
            "content_length": len(raw),
            "extension": self.extension,
            "md5": hashlib.md5(raw).hexdigest(),
            "author": self.author,
            "date_modified": _utc(self.modified_at),
            "date_created": _utc(self.modified_at - timedelta(minutes=1)),
            "origin": self.datasource.title,
            "origin_created_by": self.author,
            "origin_targeted_users": tuple(one for one in _PEOPLE if one != self.author)[:2],
            "related_users": (self.author,),
            "workspace_name": self.datasource.workspace,
            "subject": self.title,
            "from_mail": self.author,
            "orig_path": f"/{self.datasource.slug}/{self.name}",
        }


def families(now: datetime, lower: datetime, upper: datetime) -> Iterator[tuple[Resource, ...]]:
    """Documents with their attachments, newest first: one per datasource and day."""
    day = (min(now, upper) - _EPOCH) // timedelta(days=1)
    last = max(0, (lower - _EPOCH) // timedelta(days=1))
    while day >= last:
        of_the_day = [_family(source, day) for source in DATASOURCES]
        for family in sorted(of_the_day, key=lambda one: one[0].modified_at, reverse=True):
            if family[0].modified_at <= now:
                yield family
        day -= 1


@lru_cache(maxsize=8192)
def _family(source: Datasource, day: int) -> tuple[Resource, ...]:
    chance = random.Random(f"{source.slug}|{day}")
    modified_at = _EPOCH + timedelta(days=day, seconds=chance.randrange(86_400))
    author, text = chance.choice(_PEOPLE), chance.choice(_TEXTS)
    uid = _uid(source.slug, str(day))
    name = f"{source.slug}-{day:05d}"
    title = f"{source.title}, no. {day}"
    parent = Resource(
        uid, f"{name}.{source.extension}", title, source, modified_at, author, source.extension, text
    )
    if chance.random() < 0.7:
        return (parent,)
    child = Resource(
        _uid(uid, "attachment"),
        f"{name}-attachment.txt",
        f"Attachment of {title}",
        source,
        modified_at,
        author,
        "txt",
        f"{text} (attached)",
        uid,
    )
    return parent, child


def _uid(kind: str, key: str) -> str:
    return uuid.uuid5(_SPACE, f"{kind}|{key}").hex


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
