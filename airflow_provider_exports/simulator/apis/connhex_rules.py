"""Which create requests the exporter takes, and the words in which it refuses the others.

The rules are those of the reference page; what that page leaves open is a switch. The wording is invented.
"""

import re
import uuid
import zoneinfo
from collections.abc import Mapping
from functools import cache
from typing import Any

from airflow_provider_exports.simulator.apis.connhex_periods import Duration
from airflow_provider_exports.simulator.apis.connhex_switches import ConnhexSwitches

__all__ = ["checked_request", "is_channel_data"]

EXTENSIONS = {"1.1.0": ("csv", "xls"), "2025-01": ("csv", "xlsx", "pdf"), "1.3.7": ("csv", "xlsx", "pdf")}
#: Fields that an older schema does not have, by their path without positions.
NEWER = {
    "1.1.0": {
        "format.filename",
        "format.template",
        "format.csvDelimiter",
        "periodStart",
        "items.params.transform",
        "items.params.outputFormat",
        "notification.messages.target",
    },
    "2025-01": {
        "format.filename",
        "format.csvDelimiter",
        "items.params.outputFormat",
        "notification.messages.target",
    },
    "1.3.7": set(),
}
AGGREGATIONS = ("avg", "max", "min", "sum", "stddev", "variance")
COLUMN_IDS = ("publisher", "channel", "name", "time", "value", "created", "unit")
MEDIA = ("email", "telegram", "slack", "discord")
POLICIES = ("onSuccess", "onFailure")
_STEP = re.compile(r"[1-9]\d{0,8}[smhdwMy]", re.ASCII)
_RESOURCE_COLUMN = re.compile(r"[^.\s]+\.\S+")
_POSITION = re.compile(r"\.\d+")
_LAST_SECOND = 253402300799  # of the year 9999


def is_channel_data(params: Mapping[str, Any]) -> bool:
    """Whether an item's parameters are of the documented kind; nothing is known of the other one's fields."""
    return "channelId" in params


def checked_request(body: Any, switches: ConnhexSwitches) -> tuple[dict[str, Any], list[str]]:
    """The known fields of a request, and all that is wrong with it."""
    check = _Check(switches)
    if not isinstance(body, dict):
        return {}, ["the body must be an object"]
    taken = check.request(body)
    return taken, check.wrong


class _Check:
    """One pass over one request; collects what is wrong instead of ending at the first mistake."""

    def __init__(self, switches: ConnhexSwitches) -> None:
        self.switches = switches
        self.wrong: list[str] = []

    def request(self, body: dict[str, Any]) -> dict[str, Any]:
        taken: dict[str, Any] = {}
        own = self._own(body, "", "type format items periodicity periodStart notification")
        self._choice(own, "", "type", ("recurring", "oneTime"), taken)
        form = self._object(own, "", "format")
        if form is not None:
            taken["format"] = self._format(form)
        taken["items"] = self._items(own)
        self._duration(own, "", "periodicity", taken)
        self._number(own, "", "periodStart", taken)
        if taken.get("type") == "recurring" and self.switches.recurring_without_periodicity == "reject":
            self._required(own, "", "periodicity")
        if "periodicity" in taken and not Duration.parse(taken["periodicity"], self.switches.duration_rule):
            self.wrong.append("periodicity must be longer than nothing")
        notification = self._object(own, "", "notification", required=self.switches.notification_required)
        if notification is not None:
            own = self._own(notification, "notification.", "messages")
            taken["notification"] = {"messages": self._messages(own)}
        self._columns_fit(taken)
        return taken

    def _format(self, form: dict[str, Any]) -> dict[str, Any]:
        at, taken, version = "format.", dict[str, Any](), self.switches.api_version
        own = self._own(form, at, "filename extension columns timezone template csvDelimiter")
        self._choice(own, at, "extension", EXTENSIONS[version], taken)
        for name in ("filename", "timezone", "csvDelimiter"):
            self._text(own, at, name, taken, required=name == "timezone" and version == "1.1.0")
        if self.switches.timezone_names == "iana" and not _is_zone(taken.get("timezone", "utc")):
            self.wrong.append("format.timezone must be the name of a time zone")
        self._choice(own, at, "template", ("tabular", "expanded"), taken, required=False)
        columns = self._list(own, at, "columns", required=version == "1.1.0")
        if columns is not None:
            taken["columns"] = []
            for where, column in self._objects(columns, "format.columns"):
                one: dict[str, Any] = {}
                fields = self._own(column, where, "id label")
                for name in ("id", "label"):
                    self._text(fields, where, name, one, required=True)
                taken["columns"].append(one)
        return taken

    def _items(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        items = self._list(own, "", "items", required=True)
        if items == [] and self.switches.empty_items == "reject":
            self.wrong.append("items should not be empty")
        taken = []
        for where, item in self._objects(items or [], "items"):
            one: dict[str, Any] = {}
            fields = self._own(item, where, "params filename")
            params = self._object(fields, where, "params")
            if params is not None and is_channel_data(params):
                one["params"] = self._channel_data(params, f"{where}params.")
            elif params is not None:
                if self.switches.resource_items == "reject":
                    self._required(params, f"{where}params.", "channelId")
                one["params"] = params
            self._text(fields, where, "filename", one)
            taken.append(one)
        return taken

    def _channel_data(self, params: dict[str, Any], at: str) -> dict[str, Any]:
        taken: dict[str, Any] = {}
        names = "target channelId subtopic from to period decimation transform outputFormat"
        own = self._own(params, at, names)
        target = self._object(own, at, "target")
        if target is not None:
            taken["target"] = self._target(target, f"{at}target.")
        for name in ("channelId", "subtopic"):
            self._text(own, at, name, taken, required=True)
        if self.switches.channel_id == "uuid" and not _is_uuid(taken.get("channelId")):
            self.wrong.append(f"{at}channelId must be a UUID")
        for name in ("from", "to"):
            self._number(own, at, name, taken)
        self._duration(own, at, "period", taken)
        self._range(taken, at)
        decimation = self._object(own, at, "decimation", required=False)
        if decimation is not None:
            step: dict[str, Any] = {}
            fields = self._own(decimation, f"{at}decimation.", "ds dsf")
            self._text(fields, f"{at}decimation.", "ds", step, required=True)
            if "ds" in step and not _STEP.fullmatch(step["ds"]):
                self.wrong.append(f"{at}decimation.ds must be a positive integer and a unit")
            self._choice(fields, f"{at}decimation.", "dsf", AGGREGATIONS, step)
            taken["decimation"] = step
        self._choice(own, at, "transform", ("delta",), taken, required=False)
        strict = self.switches.missing_output_format == "reject" and self.switches.api_version == "1.3.7"
        self._choice(own, at, "outputFormat", ("long", "wide"), taken, required=strict)
        return taken

    def _target(self, target: dict[str, Any], at: str) -> dict[str, Any]:
        taken: dict[str, Any] = {}
        own = self._own(target, at, "value label")
        self._text(own, at, "value", taken, required=True)
        self._text(own, at, "label", taken)
        values = taken.get("value", "x").split(",")
        if not all(value.strip() for value in values):
            self.wrong.append(f"{at}value must name a resource between any two commas")
        labels = taken.get("label")
        if (
            labels is not None
            and self.switches.label_count == "reject"
            and labels.count(",") + 1 != len(values)
        ):
            self.wrong.append(f"{at}label must have as many parts as value")
        return taken

    def _range(self, params: dict[str, Any], at: str) -> None:
        start, end = params.get("from"), params.get("to")
        if self.switches.backward_range == "reject" and None not in (start, end) and params["to"] <= start:
            self.wrong.append(f"{at}to must be greater than from")
        fixed = start is not None or end is not None
        if self.switches.range_required and not fixed and "period" not in params:
            self.wrong.append(f"{at}period should not be empty without from and to")
        if self.switches.range_policy == "reject" and fixed and "period" in params:
            self.wrong.append(f"{at}period cannot be combined with from and to")

    def _messages(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        at = "notification.messages"
        messages = self._list(own, "notification.", "messages", required=True)
        taken = []
        for where, message in self._objects(messages or [], at):
            one: dict[str, Any] = {}
            fields = self._own(message, where, "target policy medium title text")
            self._text(fields, where, "target", one)
            self._choice(fields, where, "policy", POLICIES, one)
            self._choice(fields, where, "medium", MEDIA, one)
            for name in ("title", "text"):
                self._text(fields, where, name, one, required=True, empty=True)
            taken.append(one)
        policies = sorted(str(one.get("policy")) for one in taken)
        if (
            messages is not None
            and self.switches.messages_rule == "exactly_two"
            and policies != sorted(POLICIES)
        ):
            self.wrong.append(f"{at} must be exactly two, one onSuccess and one onFailure")
        return taken

    def _columns_fit(self, taken: dict[str, Any]) -> None:
        """The rules between the columns and the items."""
        columns = taken.get("format", {}).get("columns") or []
        all_params = [item.get("params", {}) for item in taken["items"]]
        wide = any(params.get("outputFormat") == "wide" for params in all_params if is_channel_data(params))
        if wide and not columns and self.switches.wide_without_columns == "reject":
            self.wrong.append("format.columns must be provided for the wide format")
        resources = bool(all_params) and not any(is_channel_data(params) for params in all_params)
        for number, column in enumerate(columns):
            name = column.get("id")
            if name is None:
                continue
            if resources and not _RESOURCE_COLUMN.fullmatch(name):
                self.wrong.append(f"format.columns.{number}.id must be of the form <type>.<attribute>")
            if not resources and self.switches.column_ids == "known" and name not in COLUMN_IDS:
                self.wrong.append(f"format.columns.{number}.id must be one of: {', '.join(COLUMN_IDS)}")

    # Fields

    def _own(self, fields: dict[str, Any], at: str, names: str) -> dict[str, Any]:
        """The fields that the schema has; null ones are gone if null means absent."""
        path = _POSITION.sub("", at)
        known = {name for name in names.split() if f"{path}{name}" not in NEWER[self.switches.api_version]}
        if self.switches.unknown_fields == "reject":
            self.wrong += [f"property {at}{name} should not exist" for name in fields if name not in known]
        return {
            name: value
            for name, value in fields.items()
            if name in known and not (value is None and self.switches.null_fields == "absent")
        }

    def _required(self, fields: Mapping[str, Any], at: str, name: str) -> bool:
        if name not in fields:
            self.wrong.append(f"{at}{name} should not be empty")
        return name in fields

    def _object(
        self, fields: dict[str, Any], at: str, name: str, *, required: bool = True
    ) -> dict[str, Any] | None:
        if not (self._required(fields, at, name) if required else name in fields):
            return None
        value = fields[name]
        if isinstance(value, dict):
            return value
        self.wrong.append(f"{at}{name} must be an object")
        return None

    def _list(self, fields: dict[str, Any], at: str, name: str, *, required: bool) -> list[Any] | None:
        if not (self._required(fields, at, name) if required else name in fields):
            return None
        value = fields[name]
        if isinstance(value, list):
            return value
        self.wrong.append(f"{at}{name} must be an array")
        return None

    def _objects(self, values: list[Any], at: str) -> list[tuple[str, dict[str, Any]]]:
        self.wrong += [
            f"{at}.{n} must be an object" for n, value in enumerate(values) if not isinstance(value, dict)
        ]
        return [(f"{at}.{n}.", value) for n, value in enumerate(values) if isinstance(value, dict)]

    def _text(
        self,
        fields: dict[str, Any],
        at: str,
        name: str,
        taken: dict[str, Any],
        *,
        required: bool = False,
        empty: bool = False,
    ) -> None:
        if not (self._required(fields, at, name) if required else name in fields):
            return
        value = fields[name]
        if not isinstance(value, str):
            self.wrong.append(f"{at}{name} must be a string")
        elif required and not empty and not value.strip():
            self.wrong.append(f"{at}{name} should not be empty")
        else:
            taken[name] = value

    def _choice(
        self,
        fields: dict[str, Any],
        at: str,
        name: str,
        choices: tuple[str, ...],
        taken: dict[str, Any],
        *,
        required: bool = True,
    ) -> None:
        if not (self._required(fields, at, name) if required else name in fields):
            return
        if isinstance(fields[name], str) and fields[name] in choices:
            taken[name] = fields[name]
        else:
            self.wrong.append(f"{at}{name} must be one of the following values: {', '.join(choices)}")

    def _number(self, fields: dict[str, Any], at: str, name: str, taken: dict[str, Any]) -> None:
        if name not in fields:
            return
        value = fields[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LAST_SECOND:
            self.wrong.append(f"{at}{name} must be a number of seconds since 1970")
        else:
            taken[name] = value

    def _duration(self, fields: dict[str, Any], at: str, name: str, taken: dict[str, Any]) -> None:
        if name not in fields:
            return
        value = fields[name]
        try:
            if not isinstance(value, str):
                raise ValueError(value)
            Duration.parse(value, self.switches.duration_rule)
            taken[name] = value
        except ValueError:
            self.wrong.append(f"{at}{name} must match durationRegExp regular expression")


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _is_zone(name: str) -> bool:
    return name.lower() == "utc" or name in _zones()
