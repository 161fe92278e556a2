"""What a form for an export asks for: fields, help and rules in words, read from a vendor's JSON Schema.

Fields, their types and the rules between them come from ``create.request.json``; order, labels and help that
it does not say from ``form.json`` beside it. A vendor without ``form.json`` gets a plain form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from airflow_provider_exports.core import schemas
from airflow_provider_exports.core.registry import vendor_class

FORM = "form.json"
_NEEDED, _EMPTY = "must be filled in", "must be left empty"
# A name that no sentence has by chance: starting_at, outputFormat.
_NAME = re.compile(r"\b[A-Za-z]+(?:_[a-z_]+|[a-z][A-Z][A-Za-z]*)\b")


@dataclass(frozen=True)
class FormField:
    """One field of a form."""

    place: tuple[str, ...]
    """Where its value goes in the payload, outermost key first."""
    title: str
    """Its label."""
    help: str
    """What it means and which rules it is under, as Markdown."""
    schema: Mapping[str, Any]
    """JSON Schema of a value that is filled in."""
    definitions: Mapping[str, Any]
    """What the references in it lead to."""
    required: bool
    """Whether it may not be left empty."""
    default: Any = None
    """What stands in it at first."""
    section: str | None = None
    """Part of the form; None for the first one."""
    values: Mapping[str, str] | None = None
    """Words for what can be chosen."""
    nothing: str = "-"
    """Words for no choice."""
    examples: Sequence[Any] = ()
    """Values that are proposed."""

    @property
    def types(self) -> list[str]:
        """The JSON types of a value that is filled in."""
        return _types(self.schema)

    @property
    def items(self) -> Mapping[str, Any]:
        """JSON Schema of the members of a list; empty for anything else."""
        return _resolved(self.schema.get("items"), {"$defs": self.definitions})


@cache
def form_fields(vendor: str) -> dict[str, FormField]:
    """Return the fields of a form for an export of ``vendor``, by operator parameter and in their order."""
    cls = vendor_class(vendor)
    folder = cls._schema_folder()
    schema = schemas.load(folder, schemas.CREATE_REQUEST) or {}
    places = cls.payload_fields or {name: (name,) for name in schema.get("properties", ())}
    words = schemas.load(folder, FORM)
    entries: dict[str, Any] = {name: {} for name in places} if words is None else words["fields"]
    found = {}
    for name, entry in entries.items():
        spot = _at(schema, tuple(entry.get("place") or places[name]))
        if "schema" in entry:
            spot.node = {"title": spot.node.get("title"), **entry["schema"]}
        spot.required = entry.get("required", spot.required)
        if "const" not in spot.node:
            found[name] = spot
    titles = {
        name: entries[name].get("title") or spot.node.get("title") or name.replace("_", " ").capitalize()
        for name, spot in found.items()
    }
    teller = _Teller(titles, found, {name: entries[name].get("values", {}) for name in found})
    rules = list(_rules(schema, schema, (), teller))
    return {
        name: FormField(
            place=spot.place,
            title=titles[name],
            help="\n\n".join(
                filter(
                    None,
                    (
                        entries[name].get("description") or _sentence(spot.node.get("errorMessage", "")),
                        teller.company(name),
                        *teller.about(name, rules),
                    ),
                )
            ),
            schema=spot.node,
            definitions=schema.get("$defs", {}),
            required=spot.required,
            default=entries[name].get("default"),
            section=entries[name].get("section"),
            values=entries[name].get("values", {}),
            nothing=entries[name].get("nothing", "-"),
            examples=entries[name].get("examples") or spot.node.get("examples", ()),
        )
        for name, spot in found.items()
    }


@dataclass
class _Spot:
    """A place in the payload and what the schema says of it."""

    place: tuple[str, ...]
    node: dict[str, Any]
    required: bool
    """Whether a payload must have it."""
    optional: int
    """How many keys of the place lead to the innermost one that may be missing; 0 if none may."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The place as a schema names it: without what tells the members of a list apart."""
        return tuple(part.partition("[")[0] for part in self.place)


def _at(root: Mapping[str, Any], place: tuple[str, ...]) -> _Spot:
    """Return what the schema says of a place in the payload; nothing where it does not know it."""
    node, required, optional = _resolved(root, root), True, 0
    for depth, part in enumerate(place, start=1):
        key, bracket, _ = part.partition("[")
        holder = next((one for one in _holders(node, root) if key in one.get("properties", {})), None)
        if holder is None:
            return _Spot(place, {}, required=False, optional=0)
        if key not in holder.get("required", ()):
            required, optional = False, depth
        node = _resolved(holder["properties"][key], root)
        if bracket:
            node = _resolved(node.get("items"), root)
    return _Spot(place, node, required, optional)


def _holders(node: Any, root: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema and those that hold beside it, always or under a condition."""
    node = _resolved(node, root)
    yield node
    for inner in (*node.get("allOf", ()), node.get("then"), node.get("else")):
        if inner:
            yield from _holders(inner, root)


def _resolved(node: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema together with what it refers to."""
    found: dict[str, Any] = dict(node) if isinstance(node, Mapping) else {}
    while "$ref" in found:
        target: Any = root
        for part in found.pop("$ref").removeprefix("#/").split("/"):
            target = target[part]
        found = {**target, **found}
    return found


def _types(node: Mapping[str, Any]) -> list[str]:
    found = node.get("type", "string")
    return [found] if isinstance(found, str) else [one for one in found if one != "null"]


# -- rules between fields, in words ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """What holds for a place in the payload under a condition."""

    condition: str
    keys: tuple[str, ...]
    demand: str
    reason: str
    node: Mapping[str, Any]
    """What demands it, where that is the schema of the place itself."""


class _Teller:
    """Says rules in the words of the form.

    :param titles: labels of the fields, by their names.
    :param spots: where they go.
    :param values: words for what can be chosen.
    """

    def __init__(
        self,
        titles: Mapping[str, str],
        spots: Mapping[str, _Spot],
        values: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._titles = titles
        self._spots = spots
        self._by_keys = {spot.keys: name for name, spot in spots.items()}
        self._values = values
        self._names = {**{spot.keys[-1]: titles[name] for name, spot in spots.items()}, **titles}

    def has_fields_below(self, keys: tuple[str, ...]) -> bool:
        """Return whether any field is deeper in the payload than these keys."""
        return any(len(at) > len(keys) and at[: len(keys)] == keys for at in self._by_keys)

    def label(self, keys: tuple[str, ...]) -> str:
        """Return the label of a field, or of all fields below some keys."""
        below = [self._titles[name] for at, name in self._by_keys.items() if at[: len(keys)] == keys]
        return " and ".join(f"*{title}*" for title in below) or f"**{'.'.join(keys)}**"

    def listed(self, keys: tuple[str, ...], values: Sequence[Any]) -> str:
        """Return values of a field as the form shows them."""
        words = self._values.get(self._by_keys.get(keys, ""), {})
        return ", ".join(f"*{words[str(one)]}*" if str(one) in words else f"**{one}**" for one in values)

    def company(self, name: str) -> str:
        """Say without which other fields a field that may be left empty says nothing."""
        own = self._spots[name]
        head = own.place[: own.optional]
        others = [
            f"*{self._titles[other]}*"
            for other, spot in self._spots.items()
            if other != name and spot.place[: spot.optional] == head
        ]
        if not others or not 0 < own.optional < len(own.place):
            return ""
        return f"Goes together with {' and '.join(others)}."

    def about(self, name: str, rules: Sequence[_Rule]) -> Iterator[str]:
        """Say the rules for one field, of each condition the one that is nearest to it."""
        spot = self._spots[name]
        nearest: dict[str, _Rule] = {}
        for rule in rules:
            near = spot.keys[: len(rule.keys)] == rule.keys
            defined = rule.keys == spot.keys and all(spot.node.get(k) == v for k, v in rule.node.items())
            if near and not (rule.node and defined) and not (spot.required and rule.demand == _NEEDED):
                known = nearest.get(rule.condition)
                if known is None or len(known.keys) <= len(rule.keys):
                    nearest[rule.condition] = rule
        for rule in nearest.values():
            reason = f" ({self._labelled(rule.reason)})" if rule.reason else ""
            yield _sentence(f"{rule.condition}{rule.demand}{reason}")

    def _labelled(self, text: str) -> str:
        """Return a text with labels in the place of names."""
        return _NAME.sub(
            lambda found: f"*{self._names[found[0]]}*" if found[0] in self._names else found[0], text
        )


def _rules(node: Any, root: Mapping[str, Any], keys: tuple[str, ...], teller: _Teller) -> Iterator[_Rule]:
    """Yield the rules of a schema that are about more than one value."""
    node = _resolved(node, root)
    for name, others in node.get("dependentRequired", {}).items():
        condition = f"when {teller.label((*keys, name))} is filled in: "
        for other in others:
            yield _Rule(condition, (*keys, other), _NEEDED, "", {})
    for keyword, so_many in (("oneOf", "exactly one of these"), ("anyOf", "at least one of these")):
        asked = [_resolved(member, root).get("required", ()) for member in node.get(keyword, ())]
        if asked and all(asked):
            texts = [" and ".join(teller.label((*keys, name)) for name in names) for names in asked]
            for name in dict.fromkeys(name for names in asked for name in names):
                yield _Rule(f"{so_many}: ", (*keys, name), "; ".join(texts), "", {})
    if condition := " and ".join(_conditions(node.get("if"), root, keys, teller)):
        for keyword, word in (("then", "when"), ("else", "unless")):
            yield from _consequences(node.get(keyword), root, keys, teller, f"{word} {condition}: ")
    for inner in node.get("allOf", ()):
        yield from _rules(inner, root, keys, teller)
    # A schema may hold itself; there are no fields of the form down there.
    if teller.has_fields_below(keys):
        if "items" in node:
            yield from _rules(node["items"], root, keys, teller)
        for name, inner in node.get("properties", {}).items():
            yield from _rules(inner, root, (*keys, name), teller)


def _conditions(node: Any, root: Mapping[str, Any], keys: tuple[str, ...], teller: _Teller) -> Iterator[str]:
    node = _resolved(node, root)
    values = [node["const"]] if "const" in node else node.get("enum")
    if values:
        yield f"{teller.label(keys)} is {'one of ' if len(values) > 1 else ''}{teller.listed(keys, values)}"
    properties = node.get("properties", {})
    for name in node.get("required", ()):
        if name not in properties:
            yield f"{teller.label((*keys, name))} is filled in"
    for inner in (node.get("items"), node.get("contains")):
        yield from _conditions(inner, root, keys, teller) if inner else ()
    for name, inner in properties.items():
        yield from _conditions(inner, root, (*keys, name), teller)


def _consequences(
    node: Any, root: Mapping[str, Any], keys: tuple[str, ...], teller: _Teller, condition: str
) -> Iterator[_Rule]:
    """Yield what holds under a condition; what is nearer to a field comes later."""
    node = {"not": {}} if node is False else _resolved(node, root)
    reason = node.get("errorMessage", "")
    if keys and (demand := _demand(node, keys, teller)):
        yield _Rule(condition, keys, demand, reason, node)
    for name in node.get("required", ()):
        yield _Rule(condition, (*keys, name), _NEEDED, reason, {})
    for name, inner in node.get("properties", {}).items():
        yield from _consequences(inner, root, (*keys, name), teller, condition)


def _demand(node: Mapping[str, Any], keys: tuple[str, ...], teller: _Teller) -> str:
    """Return what a schema demands of one value, in words; empty when that is not to be said."""
    if node.get("not") == {} or node.get("type") == "null":
        return _EMPTY
    if "const" in node or "enum" in node:
        values = [node["const"]] if "const" in node else node["enum"]
        return f"must be {'one of ' if len(values) > 1 else ''}{teller.listed(keys, values)}"
    return _NEEDED if "type" in node or node.get("minItems") else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
