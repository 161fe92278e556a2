"""Find a vendor class by name: built-in vendors first, then entry points, loaded on first use."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from airflow_provider_exports.core.vendor import Vendor
from airflow_provider_exports.exceptions import InvalidConnection

ENTRY_POINT_GROUP = "airflow_provider_exports.vendors"

BUILT_IN = {
    "connhex": "airflow_provider_exports.vendors.connhex:ConnhexVendor",
    "giosg": "airflow_provider_exports.vendors.giosg:GiosgVendor",
    "medable": "airflow_provider_exports.vendors.medable:MedableVendor",
    "mews": "airflow_provider_exports.vendors.mews:MewsVendor",
    "onna": "airflow_provider_exports.vendors.onna:OnnaVendor",
}


@cache
def vendor_class(name: str) -> type[Vendor]:
    """Return the class registered as ``name``.

    :raises InvalidConnection: no vendor has that name.
    :raises RuntimeError: two packages claim it, or one claims the name of a built-in vendor; both are named.
    """
    plugged = list(entry_points(group=ENTRY_POINT_GROUP, name=name))
    claims = ([f"airflow-provider-exports ({BUILT_IN[name]})"] if name in BUILT_IN else []) + [
        _claim(point) for point in plugged
    ]
    if len(claims) > 1:
        raise RuntimeError(f"Vendor {name!r} is claimed by {' and '.join(claims)}; uninstall one of them.")
    if not claims:
        raise InvalidConnection(
            f"there is no vendor called {name!r}; known are {', '.join(known_vendors())}.",
            next_step="Choose a connection of such a type, or install the package that adds the vendor.",
        )
    target = BUILT_IN.get(name) or plugged[0].value
    module, _, attribute = target.partition(":")
    loaded = getattr(import_module(module), attribute)
    if not (isinstance(loaded, type) and issubclass(loaded, Vendor)):
        raise RuntimeError(f"{claims[0]} is not a subclass of {Vendor.__module__}.Vendor.")
    return loaded


def known_vendors() -> list[str]:
    """Return the names of all vendors, sorted, without loading any."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def _claim(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else 'an unknown package'} ({point.value})"
