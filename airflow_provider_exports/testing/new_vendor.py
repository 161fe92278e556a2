"""Write the skeleton of a package that adds a vendor; its tests fail until it is filled in.

``python -m airflow_provider_exports.testing.new_vendor acme`` makes the folder ``acme-exports``.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from airflow_provider_exports.core.registry import known_vendors

__all__ = ["main", "write"]

FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "@project@"
version = "0.1.0"
description = "@Name@ for airflow-provider-exports"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["airflow-provider-exports"]

[project.optional-dependencies]
test = ["pytest>=9.0"]

[project.entry-points."airflow_provider_exports.vendors"]
@name@ = "@name@_exports.vendor:@Name@Vendor"

[project.entry-points.apache_airflow_provider]
provider_info = "@name@_exports.provider_info:get_provider_info"

[tool.hatch.build.targets.wheel]
packages = ["@name@_exports"]

[tool.pytest.ini_options]
testpaths = ["tests"]
""",
    "README.md": """\
# @project@

Exports of @Name@ as a vendor of `airflow-provider-exports`.

```bash
pip install -e '.[test]'
pytest
```

The tests say what is missing.
Fill in `tests/test_@name@.py` first, then `@name@_exports/vendor.py` and its schemas.
""",
    "@name@_exports/__init__.py": '''\
"""Exports of @Name@."""
''',
    "@name@_exports/vendor.py": '''\
"""Everything that is known about @Name@ exports.

Source of the vendor facts: TODO the address of the vendor's documentation (and when you read it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from airflow_provider_exports.core import (
    Capability,
    Expiry,
    Export,
    ExportState,
    Flow,
    HeaderToken,
    Links,
    Payload,
    Vendor,
    VendorSettings,
)
from airflow_provider_exports.core.model import JSON


@dataclass(frozen=True, kw_only=True)
class @Name@Settings(VendorSettings):
    """@Name@'s own settings in the connection's Extra; durations are seconds."""


class @Name@Vendor(Vendor):
    """@Name@. TODO: what its API cannot do."""

    name = "@name@"
    display_name = "@Name@"
    docs_url = ""  # TODO: https://…
    default_host = ""  # TODO: https://…
    settings_class = @Name@Settings
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    expiry = Expiry.UNKNOWN  # TODO: how it is known until when the files can be fetched
    links = Links.SIGNED  # TODO: what opens a download link
    states: ClassVar[Mapping[str, ExportState]] = {}  # TODO: the vendor's status words

    def make_auth(self) -> HeaderToken:
        raise NotImplementedError("@Name@Vendor.make_auth: check the credentials, return how to sign")

    def create(self, payload: Payload) -> Flow[Export]:
        raise NotImplementedError("@Name@Vendor.create: yield one Request with idempotent=False")

    def get(self, export_id: str) -> Flow[Export]:
        raise NotImplementedError("@Name@Vendor.get: yield one Request with the export_id")

    def parse(self, raw: JSON, now: float) -> Export:
        raise NotImplementedError("@Name@Vendor.parse: turn the vendor's JSON into an Export")
''',
    "@name@_exports/schemas/create.request.json": """\
{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$comment": "TODO: the payload's fields. Source: TODO",
  "title": "@Name@: create an export",
  "type": "object"
}
""",
    "@name@_exports/schemas/export.response.json": """\
{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$comment": "TODO: what we read of an export; unknown fields are allowed. Source: TODO",
  "title": "@Name@: export",
  "type": "object"
}
""",
    "@name@_exports/provider_info.py": '''\
"""What Airflow is told about this package; every ``airflow`` process loads it, so it imports nothing."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the connection type ``@name@`` and its form."""
    return {
        "package-name": "@project@",
        "name": "@Name@ exports",
        "description": "Exports of @Name@",
        "versions": ["0.1.0"],
        "connection-types": [
            {
                "connection-type": "@name@",
                "hook-class-name": "@name@_exports.hook.@Name@Hook",
                "hook-name": "@Name@",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port", "login"],
                    "relabeling": {"host": "API address", "password": "API key"},
                    "placeholders": {},
                },
                "conn-fields": {},
            }
        ],
    }
''',
    "@name@_exports/hook.py": '''\
"""The hook behind the connection form."""

from __future__ import annotations

from typing import Any

from airflow_provider_exports.hooks.export import ExportHook

from @name@_exports.provider_info import get_provider_info


class @Name@Hook(ExportHook):
    """Create, watch and land exports of @Name@."""

    conn_name_attr = "@name@_conn_id"
    default_conn_name = "@name@_default"
    conn_type = "@name@"
    hook_name = "@Name@"
    vendor_name = "@name@"

    def __init__(self, @name@_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(@name@_conn_id, **kwargs)
        self.@name@_conn_id = @name@_conn_id

    # Airflow before 3.2 takes the form from the hook, not from the provider info.

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own fields: those of conn-fields in the provider info."""
        return {}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return hidden fields, labels and placeholders."""
        behaviour = get_provider_info()["connection-types"][0]["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}
''',
    "tests/test_@name@.py": '''\
"""@Name@ keeps the contract of a vendor."""

from __future__ import annotations

from airflow_provider_exports.core import ConnectionInfo, ExportState
from airflow_provider_exports.testing.conformance import VendorConformance
from airflow_provider_exports.testing.replay import ok

from @name@_exports.vendor import @Name@Vendor


class Test@Name@(VendorConformance):
    """@Name@ keeps the contract."""

    vendor_class = @Name@Vendor
    connection = ConnectionInfo("@name@_default", password="made-up-key", extra={})
    # TODO: one valid payload, such as {"report": "orders"}.
    payload = {}
    # TODO: pairs such as ({"id": "e1", "status": "waiting"}, ExportState.QUEUED), from the documentation.
    samples = ()
    # TODO: one answer for each request, such as ok({"id": "e1", "status": "waiting"}, 201).
    happy_path = ()
''',
}


def write(name: str, into: Path) -> Path:
    """Write the skeleton of vendor ``name`` below ``into`` and return its folder.

    :raises ValueError: the name cannot be a connection type or is taken, or the folder exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} is no name for a vendor: lower-case letters, digits and _, please.")
    if name in known_vendors():
        raise ValueError(f"there is a vendor called {name!r} already.")
    project = f"{name.replace('_', '-')}-exports"
    folder = into / project
    if folder.exists():
        raise ValueError(f"{folder} exists already.")
    title = "".join(word.capitalize() for word in name.split("_"))
    for path, text in FILES.items():
        for mark, value in {"@name@": name, "@Name@": title, "@project@": project}.items():
            path, text = path.replace(mark, value), text.replace(mark, value)
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return folder


def main(arguments: list[str] | None = None) -> None:
    """Write the skeleton that the command line asks for.

    :param arguments: the command line; None takes the program's own.
    """
    parser = argparse.ArgumentParser(description="Write the skeleton of a package that adds a vendor.")
    parser.add_argument("name", help="connection type of the new vendor, such as acme")
    parser.add_argument("--into", type=Path, default=Path(), help="folder in which to make it")
    parsed = parser.parse_args(arguments)
    try:
        folder = write(parsed.name, parsed.into)
    except ValueError as error:
        parser.error(str(error))
    print(f"{folder} is written. Next: pip install -e '{folder}[test]' && pytest {folder}")  # noqa: T201


if __name__ == "__main__":
    main()
