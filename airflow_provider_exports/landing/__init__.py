"""Bring the files of an export to their destination: whole, together, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

__all__ = ["export_files"]


def export_files(result: Mapping[str, Any]) -> list[ObjectStoragePath]:
    """Return the landed files of an *export result*, to be opened where they lie.

    ::

        @task
        def load(result: dict[str, Any]) -> int:
            return sum(len(pandas.read_csv(file.open())) for file in export_files(result))

    :param result: what the run and the download operator return.
    :raises ValueError: the export was not landed: the task had no ``destination``.
    """
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    uris = [file["uri"] for file in result["files"]]
    if None in uris:
        raise ValueError("the files of this export were not landed: give the task a destination")
    return [ObjectStoragePath(uri) for uri in uris]
