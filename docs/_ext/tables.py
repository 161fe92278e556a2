"""Tables that the documentation takes from the code, as Markdown; they cannot drift from it.

Needs no Sphinx, so that a test can hold the tables against the code wherever the package is installed.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import fields
from importlib import import_module
from typing import Any

from airflow_provider_exports import exceptions
from airflow_provider_exports.core import (
    Capability,
    Expiry,
    Export,
    ExportState,
    Vendor,
    VendorSettings,
    raise_if_ended,
)
from airflow_provider_exports.core.registry import BUILT_IN, vendor_class
from airflow_provider_exports.provider_info import connection_type

__all__ = [
    "abilities",
    "capabilities",
    "errors",
    "fields_of",
    "form",
    "lifecycle",
    "secrets",
    "settings",
    "states",
    "table",
]

_ROLE = re.compile(r":\w+(?::\w+)?:`~?([^`]*)`")


def table(name: str, *arguments: str) -> str:
    """Return the table that the documentation calls ``name``, as Markdown."""
    return {
        "abilities": abilities,
        "capabilities": capabilities,
        "errors": errors,
        "fields": fields_of,
        "form": form,
        "lifecycle": lifecycle,
        "secrets": secrets,
        "settings": settings,
        "states": states,
    }[name](*arguments)


def form(vendor: str) -> str:
    """The connection form: standard fields that are shown, then the vendor's own."""
    entry = connection_type(vendor)
    behaviour = entry["ui-field-behaviour"]
    rows = []
    for name in ("host", "schema", "login", "password", "port"):
        if name not in behaviour["hidden-fields"]:
            label = behaviour["relabeling"].get(name, name.capitalize())
            rows.append([label, f"`{name}`", "", behaviour["placeholders"].get(name, "")])
    for name, field in entry["conn-fields"].items():
        schema = field["schema"]
        notes = [field["description"]] if "description" in field else []
        if "enum" in schema:
            notes.append(f"One of {', '.join(schema['enum'])}.")
        if schema.get("format") == "password":
            notes.append("Shown as dots.")
        default = _shown(schema["default"]) if "default" in schema else ""
        rows.append([field["label"], f"`{name}`", default, " ".join(notes)])
    return _markdown(["form field", "stored as", "default", "meaning or example"], rows)


def secrets() -> str:
    """Where each vendor's credentials stand in its connection, by the forms."""
    rows = []
    for vendor in BUILT_IN:
        entry = connection_type(vendor)
        labels = entry["ui-field-behaviour"]["relabeling"]
        known = f"{labels['login']} (`login`)" if "login" in labels else ""
        secret = [f"{labels['password']} (`password`)"]
        for name, field in entry["conn-fields"].items():
            if field["schema"].get("format") == "password":
                secret.append(f"{field['label']} (`{name}`)")
        rows.append([vendor_class(vendor).display_name, known, ", ".join(secret)])
    return _markdown(["vendor", "names an account", "secret, masked in logs"], rows)


def settings(vendor: str, whose: str) -> str:
    """The settings in a connection's Extra.

    :param whose: ``own`` for those that only this vendor has, ``shared`` for those that all have.
    """
    settings_class = vendor_class(vendor).settings_class
    texts = attribute_texts(settings_class)
    shared = {field.name for field in fields(VendorSettings)}
    in_form = connection_type(vendor)["conn-fields"]
    rows = [
        [f"`{field.name}`", _shown(field.default), "yes" if field.name in in_form else "", texts[field.name]]
        for field in fields(settings_class)
        if (field.name in shared) == (whose == "shared")
    ]
    return _markdown(["setting", "default", "in the form", "meaning"], rows)


def fields_of(vendor: str) -> str:
    """The parameters of the vendor's operators and their places in the payload."""
    cls = vendor_class(vendor)
    module = import_module(f"airflow_provider_exports.operators.{vendor}")
    operator = getattr(module, f"{vendor.capitalize()}CreateExportOperator")
    texts = parameter_texts(operator)
    rows = [
        [f"`{parameter}`", f"`{'.'.join(place)}`", texts[parameter]]
        for parameter, place in cls.payload_fields.items()
    ]
    return _markdown(["operator parameter", "payload field", "meaning"], rows)


def states(vendor: str) -> str:
    """The vendor's status words and the common states they stand for."""
    rows = [[f"`{word}`", f"`{state.value}`"] for word, state in vendor_class(vendor).states.items()]
    return _markdown([f"{vendor_class(vendor).display_name} says", "state"], rows)


def lifecycle() -> str:
    """The common states and what a wait for *ready* makes of each."""
    rows = []
    for state in ExportState:
        try:
            raise_if_ended(Export("vendor", "id", state))
        except exceptions.ExportError as error:
            then = f"ends with `{type(error).__name__}`"
        else:
            then = "ends well" if state is ExportState.READY else "goes on"
        rows.append([f"`{state.value}`", "yes" if state.finished else "no", then])
    return _markdown(["state", "finished at the vendor", "a wait for `ready`"], rows)


_WITHOUT: dict[str, str] = {
    "create": "",
    "start": "Nothing to do: the create starts it.",
    "status": "",
    "many at once": "One request per export.",
    "list": "`list_exports` is refused before anything is sent.",
    "find": "An unanswered create is an `UnknownOutcome`, never repeated; `reuse_existing` is refused.",
    "datasources": "The author of the DAG names them.",
    "room": "Where a create is refused for want of it, one task at a time tries again.",
    "cancel": "A wait that ends leaves the export to the vendor, which finishes it.",
    "delete": "Its files stay until they expire; `DeleteExportOperator` is refused.",
    "expiry": "Files are fetched as soon as they are ready, and one that is gone is `ExportExpired`.",
    "links": "",
    "recurrence": "Airflow schedules one export per data interval.",
    "connection test": "",
}
"""What an API may offer, and what we do where it does not."""


def capabilities() -> str:
    """What each vendor's export API offers, and what we do where it does not."""
    offers = {name: _offers(vendor_class(name)) for name in BUILT_IN}
    names = [vendor_class(name).display_name for name in BUILT_IN]
    rows = [
        [f"**{what}**", *(offers[name][what] for name in BUILT_IN), without]
        for what, without in _WITHOUT.items()
    ]
    return _markdown(["", *names, "where the API cannot"], rows)


def abilities(vendor: str) -> str:
    """What one vendor's export API offers, and what we do where it does not."""
    rows = [
        [what, offer, _WITHOUT[what] if offer in ("no", Expiry.UNKNOWN.value) else ""]
        for what, offer in _offers(vendor_class(vendor)).items()
    ]
    return _markdown(["", "at the vendor", "where it cannot"], rows)


def _offers(cls: type[Vendor]) -> dict[str, str]:
    def yes(capability: Capability) -> str:
        return "yes" if capability in cls.capabilities else "no"

    many = f"up to {cls.max_batch}" if Capability.GET_MANY in cls.capabilities else "no"
    return {
        "create": "yes",
        "start": yes(Capability.START),
        "status": "yes",
        "many at once": many,
        "list": yes(Capability.LIST),
        "find": yes(Capability.FIND),
        "datasources": yes(Capability.DATASOURCES),
        "room": yes(Capability.ROOM),
        "cancel": "by deleting it" if cls.delete_cancels else "no",
        "delete": yes(Capability.DELETE),
        "expiry": cls.expiry.value,
        "links": f"open to {cls.links.value}",
        "recurrence": yes(Capability.RECURRENCE),
        "connection test": yes(Capability.PING),
    }


def errors() -> str:
    """The error tree, with what Airflow does and what the reader can do."""
    rows: list[list[str]] = []

    def walk(cls: type[exceptions.ExportError], depth: int) -> None:
        then = "fails the task, no retry" if cls.permanent else "`retries` decide"
        text = _plain((cls.__doc__ or "").strip().splitlines()[0])
        rows.append([f"{'- ' * depth}`{cls.__name__}`", text, then, cls.advice])
        for child in cls.__subclasses__():
            walk(child, depth + 1)

    for child in exceptions.ExportError.__subclasses__():
        walk(child, 0)
    return _markdown(["error", "what happened", "Airflow", "what to do"], rows)


def attribute_texts(cls: type[Any]) -> dict[str, str]:
    """Return the docstring below each attribute; a subclass that only changes a default inherits it."""
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for attribute, following in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(attribute, ast.AnnAssign)
                and isinstance(attribute.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                texts[attribute.target.id] = _plain(following.value.value)
    return texts


def parameter_texts(cls: type[Any]) -> dict[str, str]:
    """Return what a docstring's ``:param name:`` fields say."""
    found = re.findall(
        r"^:param (\w+): (.*?)(?=^:|^$|\Z)", inspect.getdoc(cls) or "", re.DOTALL | re.MULTILINE
    )
    return {name: _plain(text) for name, text in found}


def _shown(value: Any) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{value:g}`"
        case tuple():
            return f"`{', '.join(str(item) for item in value)}`"
        case "":
            return "empty"
        case _:
            return f"`{value}`"


def _plain(text: str) -> str:
    return " ".join(_ROLE.sub(r"`\1`", text).split())


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    # A bar inside a cell (a regular expression) would end it.
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
