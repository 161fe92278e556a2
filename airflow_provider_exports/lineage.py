"""What OpenLineage is told of an export: from what the task knows, without a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_exports.core.model import Payload
    from airflow_provider_exports.core.vendor import Vendor
    from airflow_provider_exports.landed import Landed

UNKNOWN = "exports"
"""Name of the vendor's dataset where nobody knows what was exported."""


def facets(
    vendor: Vendor, payload: Payload | None, export_id: str | None, landed: Landed | None
) -> OperatorLineage[Any, Any]:
    """Return the vendor's datasets as inputs, and the folder of the landed files as output.

    One folder is one dataset, however many files are in it: their names are others in each run.

    :param payload: what was asked for, prepared; None where it is not known.
    :param export_id: the vendor's id; None where there is no export yet.
    :param landed: None where no files have landed.
    """
    from airflow.providers.common.compat.openlineage.facet import (
        Dataset,
        ExternalQueryRunFacet,
        OutputDataset,
        OutputStatisticsOutputDatasetFacet,
        SchemaDatasetFacet,
        SchemaDatasetFacetFields,
    )
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_exports.landed import place

    parts = urlsplit(vendor.base_url)
    namespace, path = f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
    content = vendor.known_content(payload)
    subjects = content.subjects or (UNKNOWN,)
    inputs = [Dataset(namespace=namespace, name=f"{path}/{one}".lstrip("/")) for one in subjects]
    outputs = []
    if landed is not None:
        fields = [SchemaDatasetFacetFields(name=column) for column in content.columns]
        statistics = OutputStatisticsOutputDatasetFacet(
            rowCount=landed.row_count, size=landed.size, fileCount=len(landed.result["files"])
        )
        folder_namespace, folder = place(landed.folder)
        outputs.append(
            OutputDataset(
                namespace=folder_namespace,
                name=folder,
                facets={"schema": SchemaDatasetFacet(fields=fields)} if fields else {},
                outputFacets={"outputStatistics": statistics},
            )
        )
    made = {}
    if export_id is not None:
        made["externalQuery"] = ExternalQueryRunFacet(externalQueryId=export_id, source=namespace)
    return OperatorLineage(inputs=inputs, outputs=outputs, run_facets=made)
