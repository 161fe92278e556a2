"""Sphinx configuration: ``sphinx-build -nW --keep-going docs docs/_build/html`` (``make docs``)."""

import os
import sys
import tempfile
from pathlib import Path

# autodoc imports Airflow, which makes its home when it is imported.
_home = tempfile.TemporaryDirectory(prefix="airflow-exports-docs-")
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parent.parent)]

from airflow_provider_exports import __version__  # noqa: E402

project = "airflow-provider-exports"
author = "airflow-provider-exports contributors"
copyright = f"2026, {author}"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "generated"]
exclude_patterns = ["_build", "_ext"]
source_suffix = {".md": "markdown"}
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"{project} {release}"
html_show_sourcelink = False
html_copy_source = False

# The build downloads nothing, so names of other projects cannot be resolved: no intersphinx.
nitpick_ignore_regex = [
    # Airflow, the HTTP libraries and the standard library.
    (r"py:.*", r"(airflow|aiohttp|requests|jsonschema|pendulum|ssl|enum|datetime|logging|pathlib)(\..*)?"),
    (
        r"py:.*",
        r"(collections|typing|types|abc|urllib3|Exception|ValueError|RuntimeError|OSError|KeyError).*",
    ),
    # Names that annotations use without their module: of the standard library, of Airflow …
    (r"py:.*", r"(Any|ClassVar|Callable|Container|Iterable|Iterator|AsyncIterator|Mapping|Sequence|Self)"),
    (r"py:.*", r"(date|datetime|timedelta|Context|Connection|TriggerEvent|HttpHook|BaseTrigger|Literal.*)"),
    (r"py:.*", r"RetryDecision|OperatorLineage"),
    (r"py:.*", r"ObjectStoragePath"),
    # … and type aliases and type variables of this package, which autodoc documents as data or not at all.
    (r"py:.*", r"(.*\.)?(T|SettingsT|JSON|Payload|Flow|Plan|Step)"),
    # A private base says nothing to readers.
    (r"py:.*", r"airflow_provider_exports(\.\w+)*\._\w+"),
    # The simulator's inside is not part of the reference.
    (r"py:.*", r"airflow_provider_exports\.simulator\..*"),
    # autodoc does not split the type of an attribute.
    (r"py:.*", r"tuple\[.*"),
]
