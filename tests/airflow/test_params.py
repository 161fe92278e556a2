"""Trigger forms: what they ask for, in which words, and that they take what the vendor's schema takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_exports.core import forms, schemas
from airflow_provider_exports.core.registry import BUILT_IN, vendor_class
from airflow_provider_exports.core.vendor import Vendor
from airflow_provider_exports.exceptions import InvalidPayload
from airflow_provider_exports.params import export_params, export_payload
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import run
from tests.airflow.test_example_dags import FOLDER, load
from tests.airflow.test_windows import CASES, ROOM

pytestmark = pytest.mark.filterwarnings("ignore")

# Not in the form: lists of whole objects beside the fields of one, code, and what is flattened.
NOT_ASKED = {"connhex": {"items", "messages", "decimation"}, "medable": {"after_script"}}
FLATTENED = {"connhex": {"granularity", "aggregation"}}
FORM = {vendor: export_params(vendor) for vendor in BUILT_IN}
EMPTY = {vendor: {name: param.value for name, param in form.items()} for vendor, form in FORM.items()}
"""The forms as they are opened."""
NOTHING = EMPTY["giosg"]["is_real_conversation"]
"""What no choice is in this version of Airflow."""
FILLED_IN: dict[str, dict[str, Any]] = {
    "giosg": {"room_id": ROOM, "starting_at": "2026-01-01T00:00:00Z", "ending_at": "2026-01-05T00:00:00Z"},
    "mews": {"entity_type": "Payment"},
    "connhex": {
        "channel_id": "00000000-0000-4000-8000-000000000001",
        "subtopic": "events.data",
        "targets": ["urn:cpt:smartdevice:nid:AA01:temp"],
        "from_time": "2026-01-01T00:00:00Z",
        "to_time": "2026-01-02T00:00:00Z",
    },
    "medable": {"objects": "c_visits"},
    "onna": {"workspace_url": "weekly-archive-T3mWzs"},
}
"""What makes a form complete, besides its defaults."""


def submitted(vendor: str, **filled_in: Any) -> dict[str, Any]:
    """A complete form in which these fields were changed."""
    return {**EMPTY[vendor], **FILLED_IN[vendor], **filled_in}


def takes(vendor: str, name: str, value: Any) -> bool:
    """Whether one field of a form takes a value."""
    from airflow.exceptions import ParamValidationError

    try:
        FORM[vendor][name].resolve(value)
    except ParamValidationError:
        return False
    return True


def passes_form(vendor: str, params: Mapping[str, Any]) -> bool:
    """Whether Airflow starts a run with these params."""
    return all(takes(vendor, name, params[name]) for name in FORM[vendor])


def problems(vendor: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the vendor's schema says against the payload of these params."""
    client = CASES[vendor].vendor()
    try:
        client.check_shape(client.prepare(client.compose({}, export_payload(vendor, params))))
    except InvalidPayload as error:
        return list(error.problems)
    return []


# -- what is asked for -----------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_form_has_a_field_for_every_parameter(vendor: str) -> None:
    """What the operators take the form asks for, but for what the documentation says it does not."""
    fields = set(FORM[vendor]) - {"conn_id"}
    parameters = set(vendor_class(vendor).payload_fields)
    assert fields - FLATTENED.get(vendor, set()) == parameters - NOT_ASKED.get(vendor, set())
    assert FORM[vendor]["conn_id"].value == f"{vendor}_default"


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_every_field_has_label_and_help(vendor: str) -> None:
    """No field shows the name that programs give it, and no two the same label."""
    titles = [param.schema["title"] for param in FORM[vendor].values()]
    assert len(set(titles)) == len(titles)
    assert not any("_" in title for title in titles)
    for param in FORM[vendor].values():
        assert param.schema["description_md"].endswith(".")


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_first_part_of_the_form_is_never_empty(vendor: str) -> None:
    """A form of which every field has a section is not shown by Airflow."""
    assert "section" not in FORM[vendor]["conn_id"].schema


def test_fields_are_as_the_schema_says() -> None:
    """Labels, words for choices, defaults, times, and what may be left empty."""
    form = FORM["giosg"]
    assert list(form) == [
        "conn_id",
        "room_id",
        "type",
        "format",
        "starting_at",
        "ending_at",
        "is_real_conversation",
        "min_message_count",
    ]
    kind, chats, fewest = (
        form[name].schema for name in ("type", "is_real_conversation", "min_message_count")
    )
    assert (kind["type"], kind["enum"], form["type"].value) == ("string", ["logs", "stats"], "logs")
    assert kind["values_display"] == {"logs": "Chat logs", "stats": "Statistics"}
    assert (chats["type"], chats["enum"]) == (["string", "null"], ["true", "false", NOTHING])
    assert chats["values_display"]["None"] == "All"
    assert (fewest["type"], fewest["minimum"], fewest["section"]) == (["integer", "null"], 0, "Chat logs")
    assert form["min_message_count"].value is None
    assert (form["starting_at"].schema["type"], form["starting_at"].schema["format"]) == (
        "string",
        "date-time",
    )
    assert not form["room_id"].has_value
    assert FORM["mews"]["posting_start"].schema["format"] == "date"
    assert "LedgerEntry" in FORM["mews"]["entity_type"].schema["examples"]
    assert FORM["mews"]["chain_ids"].schema["type"] == ["array", "null"]
    assert FORM["connhex"]["columns"].schema["items"]["required"] == ["id", "label"]
    assert FORM["medable"]["where"].schema["type"] == ["object", "null"]
    assert FORM["medable"]["export_files"].schema["type"] == "boolean"
    assert FORM["medable"]["export_files"].value is False


@pytest.mark.parametrize(
    ("vendor", "name", "said"),
    [
        ("giosg", "format", "When *Type* is *Statistics*: must be one of *CSV*, *Excel (xlsx)*"),
        ("giosg", "is_real_conversation", "When *Type* is *Statistics*: must be left empty"),
        ("giosg", "min_message_count", "When *Type* is *Statistics*: must be left empty"),
        ("mews", "start_utc", "Goes together with *Updated before*."),
        ("mews", "start_utc", "When *Entity type* is **LedgerEntry**: must be left empty"),
        ("mews", "posting_end", "When *Entity type* is **LedgerEntry**: must be filled in"),
        (
            "mews",
            "posting_end",
            "needs its range of posting dates: *First posting date* and *Last posting date*",
        ),
        ("mews", "posting_end", "Unless *Entity type* is **LedgerEntry**: must be left empty"),
        ("mews", "posting_end", "Goes together with *First posting date*."),
        ("connhex", "columns", "When *Layout* is *Wide*: must be filled in (*Layout* wide needs columns)."),
        ("connhex", "periodicity", "When *Type* is *Again and again*: must be filled in"),
        ("connhex", "granularity", "Goes together with *Aggregation*."),
    ],
)
def test_rules_between_fields_are_said_in_words(vendor: str, name: str, said: str) -> None:
    """A rule that the form cannot check stands in the help of the fields it is about."""
    assert said in FORM[vendor][name].schema["description_md"]


def test_rules_are_said_where_they_matter_only() -> None:
    """Fields that are under no rule, and definitions that the schema has under a condition, add no words."""
    assert FORM["giosg"]["type"].schema["description_md"] == "What to export."
    assert FORM["mews"]["chain_ids"].schema["description_md"].endswith("all that the token reaches.")
    assert FORM["connhex"]["transform"].schema["description_md"] == "What is made of the values."


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Any]]]:
    """The form of a vendor that has this schema, and no words for its form."""

    class MadeUp(Vendor):
        """A vendor that says nothing but its schema."""

        @classmethod
        def _schema_folder(cls) -> Path:
            return tmp_path

    def form(**schema: Any) -> dict[str, Any]:
        (tmp_path / schemas.CREATE_REQUEST).write_text(json.dumps(schema), "utf-8")
        forms.form_fields.cache_clear()
        return export_params("made_up")

    monkeypatch.setattr(forms, "vendor_class", {"made_up": MadeUp}.__getitem__)
    yield form
    forms.form_fields.cache_clear()


def test_vendor_without_words_has_a_form(made_up: Callable[..., dict[str, Any]]) -> None:
    """The schema alone makes one: fields in its order, labels from titles or names, no constants."""
    form = made_up(
        required=["data_set", "whole"],
        properties={
            "version": {"const": 2},
            "data_set": {"type": "string", "errorMessage": "must be a name"},
            "whole": {"type": "boolean"},
            "zipped": {"type": "boolean"},
            "size": {"$ref": "#/$defs/size", "title": "Most rows"},
            "columns": {"type": "array", "items": {"$ref": "#/$defs/column"}},
            "id": {"type": ["string", "integer"]},
        },
        **{"$defs": {"size": {"type": "integer", "title": "Size"}, "column": {"type": "object"}}},
    )
    assert {name: param.schema["title"] for name, param in form.items()} == {
        "conn_id": "Connection",
        "data_set": "Data set",
        "whole": "Whole",
        "zipped": "Zipped",
        "size": "Most rows",
        "columns": "Columns",
        "id": "Id",
    }
    assert form["data_set"].schema["description_md"] == "Must be a name."
    assert (form["whole"].schema["type"], form["whole"].value) == ("boolean", False)
    assert form["zipped"].schema["enum"] == ["true", "false", NOTHING]
    assert form["id"].schema["type"] == ["string", "integer", "null"]
    assert form["columns"].resolve([{"a": 1}]) == [{"a": 1}]
    assert export_payload("made_up", {"whole": False, "zipped": "false", "size": 0, "id": ""}) == {
        "whole": False,
        "zipped": False,
        "size": 0,
    }


@pytest.mark.parametrize(
    ("rule", "name", "said"),
    [
        ({"dependentRequired": {"one": ["two"]}}, "two", "When *One* is filled in: must be filled in."),
        (
            {"oneOf": [{"required": ["one"]}, {"required": ["two", "three"]}]},
            "three",
            "Exactly one of these: *One*; *Two* and *Three*.",
        ),
        (
            {"anyOf": [{"required": ["one"]}, {"required": ["two"]}]},
            "one",
            "At least one of these: *One*; *Two*.",
        ),
        (
            {"if": {"required": ["one"]}, "then": {"properties": {"two": {"const": "x"}}}},
            "two",
            "When *One* is filled in: must be **x**.",
        ),
        (
            {"if": {"properties": {"one": {"enum": ["a", "b"]}}}, "else": {"properties": {"two": False}}},
            "two",
            "Unless *One* is one of **a**, **b**: must be left empty.",
        ),
        (
            {"allOf": [{"if": {"properties": {"one": {"const": "a"}}}, "then": {"required": ["inner"]}}]},
            "inner",
            "When *One* is **a**: must be filled in.",
        ),
        (
            {"if": {"properties": {"other": {"const": 1}}}, "then": {"properties": {"one": {"not": {}}}}},
            "one",
            "When **other** is **1**: must be left empty.",
        ),
        ({"if": {"type": "object"}, "then": {"required": ["one"]}}, "one", ""),
    ],
)
def test_rules_of_any_schema_are_said(
    made_up: Callable[..., dict[str, Any]], rule: dict[str, Any], name: str, said: str
) -> None:
    """Also the forms of rules that no built-in vendor has; a condition that has no words is left out."""
    text = {"type": "string"}
    form = made_up(properties={"one": text, "two": text, "three": text, "inner": {"type": "object"}}, **rule)
    assert form[name].schema["description_md"] == said


def test_schema_that_holds_itself_ends(made_up: Callable[..., dict[str, Any]]) -> None:
    """Conditions of conditions are one object."""
    group = {"type": "object", "properties": {"all": {"type": "array", "items": {"$ref": "#/$defs/group"}}}}
    form = made_up(properties={"filter": {"$ref": "#/$defs/group"}}, **{"$defs": {"group": group}})
    nested = {"all": [{"all": [{"all": []}]}]}
    assert form["filter"].resolve(nested) == nested


# -- what an author may change ---------------------------------------------------------------------------


def test_author_chooses_connections_fields_and_defaults() -> None:
    """Only the named connections can be chosen; fields are left out; what stands in a field is given."""
    form = export_params(
        "giosg",
        conn_ids=["giosg_eu", "giosg_us"],
        omit=["type", "min_message_count"],
        defaults={"room_id": ROOM, "is_real_conversation": True, "format": None},
    )
    assert (form["conn_id"].value, form["conn_id"].schema["enum"]) == ("giosg_eu", ["giosg_eu", "giosg_us"])
    assert not {"type", "min_message_count"} & form.keys()
    assert (form["room_id"].value, form["is_real_conversation"].value) == (ROOM, "true")
    assert not form["format"].has_value
    values = {name: param.value for name, param in form.items() if param.has_value}
    assert export_payload("giosg", values) == {"room_id": ROOM, "is_real_conversation": True}


def test_mistakes_of_the_author_fail_at_once() -> None:
    """A name of no field, and a default that its own field would refuse."""
    from airflow.exceptions import ParamValidationError

    with pytest.raises(ValueError, match=r"the form of giosg has no colour, room; it has room_id, type, "):
        export_params("giosg", omit=["room"], defaults={"colour": "red"})
    with pytest.raises(ParamValidationError, match="Web shop"):
        export_params("giosg", defaults={"room_id": "Web shop"})


# -- from the form to the payload ------------------------------------------------------------------------


def test_payload_holds_what_was_filled_in() -> None:
    """Values go to their places under the vendor's names, yes and no as such, what is empty nowhere."""
    assert export_payload("mews", submitted("mews", posting_start="2026-01-01", chain_ids=["", ""])) == {
        "EntityType": "Payment",
        "Filters": {"LedgerEntryFilters": {"Posting": {"Start": "2026-01-01"}}},
    }
    filled = submitted("giosg", is_real_conversation="false", min_message_count=0, foreign="x")
    assert export_payload("giosg", filled) == {
        **FILLED_IN["giosg"],
        "type": "logs",
        "format": "csv",
        "is_real_conversation": False,
        "min_message_count": 0,
    }
    filled = submitted("medable", where={}, paths=["a", "", "b"], export_files=False, prefix="")
    assert export_payload("medable", filled) == {
        "objects": "c_visits",
        "format": "application/x-ndjson",
        "paths": ["a", "b"],
        "exportFiles": False,
        "zipFiles": False,
    }


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("2026-01-31T23:00:00.000Z", True),
        ("2026-01-31T23:00:00+00:00", True),
        ("2026-01-31T23:00:00.123456+05:30", True),
        ("2028-02-29T00:00:00Z", True),
        ("2026-02-29T00:00:00Z", False),
        ("2026-04-31T00:00:00Z", False),
        ("2026-01-31T24:00:00Z", False),
        ("yesterday", False),
        ("2026-01-31T23:00:00Z\n", False),
    ],
)
def test_times_are_checked_by_the_form(text: str, fits: bool) -> None:
    """Not every Airflow checks the format of a time; the form does everywhere."""
    assert passes_form("giosg", submitted("giosg", starting_at=text)) == fits
    assert not fits or problems("giosg", submitted("giosg", starting_at=text)) == []


# -- the form and the schema, over generated values ------------------------------------------------------

UUID = st.uuids().map(str)
WORD = st.text(min_size=1, max_size=12)
# What stands in a list of URNs or labels.
ENTRY = st.text(min_size=1, max_size=12).filter(lambda text: "," not in text)
DAY = st.dates(datetime(2000, 1, 1).date(), datetime(2099, 12, 31).date()).map(str)  # noqa: DTZ001
ZONES = [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))]
MOMENT = st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30)).flatmap(  # noqa: DTZ001
    lambda naive: st.sampled_from(
        [
            *(naive.replace(tzinfo=zone).isoformat() for zone in ZONES),
            f"{naive:%Y-%m-%dT%H:%M:%S}.{naive.microsecond // 1000:03d}Z",
            f"{naive:%Y-%m-%dT%H:%M}",
        ]
    )
)
DURATION = st.from_regex(r"P([0-9]{1,3}D(T[0-9]{1,2}H)?|T[0-9]{1,3}M|[1-9]M)", fullmatch=True)
YES_NO = st.sampled_from(["true", "false"])
COLUMN = st.fixed_dictionaries({"id": WORD, "label": st.text(max_size=5)})
# By the vendors' documentation: what each field may hold when it is filled in.
VALUES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "giosg": {
        "room_id": UUID,
        "type": st.sampled_from(["logs", "stats"]),
        "format": st.sampled_from(["csv", "xlsx", "txt"]),
        "starting_at": MOMENT,
        "ending_at": MOMENT,
        "is_real_conversation": YES_NO,
        "min_message_count": st.integers(0, 10**6),
    },
    "mews": {
        "entity_type": st.sampled_from(["Payment", "LedgerEntry", "SomethingNew"]),
        "start_utc": MOMENT,
        "end_utc": MOMENT,
        "posting_start": DAY,
        "posting_end": DAY,
        "enterprise_ids": st.lists(UUID, max_size=3),
        "chain_ids": st.lists(UUID, max_size=3),
    },
    "connhex": {
        "channel_id": WORD,
        "subtopic": WORD,
        "targets": st.lists(ENTRY, min_size=1, max_size=3),
        "labels": st.lists(ENTRY, max_size=3),
        "from_time": MOMENT,
        "to_time": MOMENT,
        "period": DURATION,
        "extension": st.sampled_from(["csv", "xlsx", "pdf"]),
        "output_format": st.sampled_from(["long", "wide"]),
        "columns": st.lists(COLUMN, max_size=2),
        "filename": WORD,
        "timezone": WORD,
        "template": st.sampled_from(["tabular", "expanded"]),
        "csv_delimiter": WORD,
        "granularity": st.from_regex(r"[1-9][0-9]?[smhdwMy]", fullmatch=True),
        "aggregation": st.sampled_from(["avg", "max", "min", "sum", "stddev", "variance"]),
        "transform": st.just("delta"),
        "type": st.sampled_from(["oneTime", "recurring"]),
        "periodicity": DURATION,
        "period_start": MOMENT,
        "success_text": st.text(max_size=5),
        "failure_text": st.text(max_size=5),
        "notification_medium": st.sampled_from(["email", "telegram", "slack", "discord"]),
        "notification_target": WORD,
    },
    "medable": {
        "objects": st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,9}", fullmatch=True),
        "format": st.sampled_from(["application/x-ndjson", "application/json", "text/csv"]),
        "where": st.fixed_dictionaries({"c_name": st.text(max_size=5)}),
        "paths": st.lists(WORD, max_size=3),
        "include": st.lists(WORD, max_size=3),
        "expand": st.lists(WORD, max_size=3),
        "export_files": st.booleans(),
        "zip_files": st.booleans(),
        "job_label": WORD,
        "description": st.text(max_size=5),
        "principal": st.from_regex(r"[0-9a-fA-F]{24}", fullmatch=True),
        "prefix": WORD,
    },
    "onna": {
        "title": WORD,
        "workspace_url": WORD,
        "datasource_uid": st.lists(WORD, max_size=3),
        "type_name": WORD,
        "modified_after": MOMENT,
        "modified_before": MOMENT,
        **dict.fromkeys(
            ("include_family", "single_messages", "exclude_nist", "dedupe_parents", "prefer_pdf"), YES_NO
        ),
        "message_context_days": st.integers(0, 1000),
        "load_file_format": WORD,
        "template": st.fixed_dictionaries({"exclude_nist": st.booleans()}),
        "unique_id": st.from_regex(r"[A-Za-z0-9]{1,9}", fullmatch=True),
    },
}


def keeps_the_rules(vendor: str, params: Mapping[str, Any]) -> bool:
    """Whether the fields go together, by the vendor's documentation; the form says these rules in words."""
    filled = {name for name in VALUES[vendor] if params[name] not in (None, NOTHING, "", [], [""])}
    if vendor == "giosg":
        only_logs = {"is_real_conversation", "min_message_count"} & filled
        return params["type"] == "logs" or (params["format"] != "txt" and not only_logs)
    if vendor == "mews":
        updated, posted = (
            {*pair} & filled for pair in (("start_utc", "end_utc"), ("posting_start", "posting_end"))
        )
        if params["entity_type"] == "LedgerEntry":
            return len(posted) == 2 and not updated
        return not posted and len(updated) != 1
    if vendor == "connhex":
        return (
            (params["type"] == "oneTime" or "periodicity" in filled)
            and (params["output_format"] == "long" or "columns" in filled)
            and ("granularity" in filled) == ("aggregation" in filled)
        )
    return True


@st.composite
def filled_in(draw: st.DrawFn, vendor: str) -> dict[str, Any]:
    """A form that was filled in; what may be left empty sometimes is."""
    params = dict(EMPTY[vendor])
    for name, values in VALUES[vendor].items():
        optional = "null" in FORM[vendor][name].schema["type"]
        if not optional or draw(st.booleans()):
            params[name] = draw(values)
    return params


def test_values_are_known_for_every_field() -> None:
    """No field is left out of the two tests below."""
    assert {vendor: {"conn_id", *values} for vendor, values in VALUES.items()} == {
        vendor: set(form) for vendor, form in FORM.items()
    }


@pytest.mark.parametrize("vendor", BUILT_IN)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_the_vendor_takes_passes_the_form(vendor: str, data: st.DataObject) -> None:
    """All that is documented can be filled in, and passes the schema but for the rules said in words."""
    params = data.draw(filled_in(vendor))
    assert passes_form(vendor, params)
    assert (problems(vendor, params) == []) == keeps_the_rules(vendor, params), problems(vendor, params)


# Beside these the form has a notation of its own: times are checked above, objects by the operator.
OWN_NOTATION = {"where", "template", "columns", "is_real_conversation"} | set(VALUES["onna"])
TRICKY = [
    "csv",
    "logs",
    "CSV",
    "15m",
    "P1D",
    "PT",
    " ",
    "a\\",
    ROOM,
    ROOM.upper(),
    "c_visits",
    "0a" * 12,
    "null",
]
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(TRICKY),
    st.from_regex(r"[0-9a-f]{23,25}", fullmatch=True),
    st.from_regex(r"[A-Za-z]{1,8}\n?", fullmatch=True),
)
ANYTHING = st.one_of(
    TEXTS,
    st.integers(-2, 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.lists(TEXTS, max_size=2),
    st.dictionaries(st.sampled_from(["id", "label", "x"]), TEXTS, max_size=2),
)


def sent_place(field: forms.FormField) -> list[str | int]:
    """Where the value of a field stands in what is sent."""
    members = {"items[]": 0, "messages[]": 0, "messages[onSuccess]": 0, "messages[onFailure]": 1}
    found: list[str | int] = []
    for part in field.place:
        found += [part.partition("[")[0], members[part]] if part in members else [part]
    return found


def sent_as_typed(vendor: str) -> list[str]:
    """The fields whose values are sent as they are."""
    return [
        name
        for name, param in FORM[vendor].items()
        if name != "conn_id" and "format" not in param.schema and name not in OWN_NOTATION
    ]


def schema_takes(vendor: str, params: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether the vendor's schema takes this value at the place of one field."""
    client = CASES[vendor].vendor()
    payload = client.prepare(client.compose({}, export_payload(vendor, params)))
    *parents, key = sent_place(forms.form_fields(vendor)[name])
    inner: Any = payload
    for parent in parents:
        inner = inner.setdefault(parent, {}) if isinstance(inner, dict) else inner[parent]
    if name in ("targets", "labels") and isinstance(value, list):
        if any("," in entry for entry in value):
            # No way to write a comma inside of an entry is documented.
            return False
        value = ",".join(value)
    inner[key] = value
    try:
        client.check_shape(payload)
    except InvalidPayload:
        return False
    return True


def check_same_verdict(vendor: str, name: str, value: Any) -> None:
    """Assert that form and schema both take a value, or both refuse it."""
    if value in ("", [], {}) or value == NOTHING or (isinstance(value, list) and "" in value):
        # It is left out of the payload.
        return
    if name in ("targets", "labels") and isinstance(value, str):
        # A list in the form, one text when it is sent.
        value = [value]
    # No rule between fields is to decide.
    extra = {"granularity": "1h", "aggregation": "avg", "periodicity": "P1D"}
    extra["columns"] = [{"id": "time", "label": ""}]
    params = submitted(vendor, **(extra if vendor == "connhex" else {}))
    assert value != "LedgerEntry"
    assert takes(vendor, name, value) == schema_takes(vendor, params, name, value)


WITHOUT_ONNA = sorted(set(BUILT_IN) - {"onna"})


@pytest.mark.parametrize("vendor", WITHOUT_ONNA)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_form_and_schema_refuse_the_same(vendor: str, data: st.DataObject) -> None:
    """Whatever is put into one field, the form takes it if and only if the schema does at its place."""
    check_same_verdict(vendor, data.draw(st.sampled_from(sent_as_typed(vendor))), data.draw(ANYTHING))


@pytest.mark.parametrize("vendor", WITHOUT_ONNA)
def test_form_and_schema_refuse_the_same_tricky_texts(vendor: str) -> None:
    """Also texts that are nearly right, such as one with a line end behind it."""
    for name in sent_as_typed(vendor):
        for text in (*TRICKY, *(f"{text}\n" for text in TRICKY)):
            check_same_verdict(vendor, name, text)
            check_same_verdict(vendor, name, [text])


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_empty_is_refused_where_something_is_needed_only(vendor: str) -> None:
    """A required field takes no kind of nothing; any other takes what the form sends for nothing."""
    for name, param in FORM[vendor].items():
        required = "null" not in param.schema["type"]
        for nothing in ("", None, []) if required else (NOTHING if "enum" in param.schema else None,):
            assert takes(vendor, name, nothing) != required


# -- the example DAGs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    """The example DAGs."""
    return load(FOLDER)


def started(dags: Mapping[str, Any], vendor: str, params: Mapping[str, Any], landed: Path) -> Any:
    """The exporting task of a run that was started with these params."""
    dag = dags[f"{vendor}_from_form"]
    (task,) = dag.tasks
    # Rendering writes into the task.
    task = task.prepare_for_execution()
    variables = SimpleNamespace(value={"exports_destination": f"file://{landed}"})
    task.render_template_fields({"params": params, "task": task, "var": variables})
    return task


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_example_is_started_by_hand_only(vendor: str, dags: Mapping[str, Any]) -> None:
    """It has the form, no schedule, and one task."""
    dag = dags[f"{vendor}_from_form"]
    assert dag.timetable.can_be_scheduled is False
    assert [type(task).__name__ for task in dag.tasks] == [f"{vendor.capitalize()}RunExportOperator"]
    assert set(FORM[vendor]) - set(dag.params) == (
        {"type", "periodicity", "period_start"} if vendor == "connhex" else set()
    )


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_example_exports_what_was_filled_in(
    vendor: str, dags: Mapping[str, Any], simulator: Simulator, tmp_path: Path
) -> None:
    """From the form to the landed file, in a folder of its own."""
    params = {name: submitted(vendor)[name] for name in dags[f"{vendor}_from_form"].params}
    result = run(lambda: started(dags, vendor, params, tmp_path))
    assert result["vendor"] == vendor
    assert result["files"]
    for file in result["files"]:
        assert file["uri"].startswith(f"file://{tmp_path}/{vendor}/from-form/{result['export_id']}/")


@pytest.mark.parametrize(
    ("vendor", "wrong", "paths"),
    [
        (
            "giosg",
            {"type": "stats", "format": "txt", "min_message_count": 1},
            ["format", "min_message_count"],
        ),
        ("mews", {"entity_type": "LedgerEntry", "start_utc": "2026-01-01T00:00:00Z"}, None),
        ("connhex", {"output_format": "wide", "granularity": "15m"}, None),
        ("medable", {"where": {"created": "some day"}}, ["where"]),
        ("onna", {"template": {"exclude_nist": "perhaps", "meta": 1}}, None),
    ],
)
def test_broken_rule_stops_the_task_before_anything_is_sent(
    vendor: str,
    wrong: dict[str, Any],
    paths: list[str] | None,
    dags: Mapping[str, Any],
    simulator: Simulator,
    tmp_path: Path,
) -> None:
    """What the form cannot check the operator does: with every path, no retry, and no request."""
    params = submitted(vendor, **wrong)
    assert passes_form(vendor, params)
    with pytest.raises(AirflowFailException) as failed:
        run(lambda: started(dags, vendor, params, tmp_path))
    error = failed.value.__cause__
    assert isinstance(error, InvalidPayload)
    assert len(error.problems) >= (1 if paths else 2)
    assert paths is None or [path for path, _ in error.problems] == paths
    assert all(path in str(failed.value) for path, _ in error.problems)
    assert simulator.requests(vendor) == []
