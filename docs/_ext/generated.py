"""The directives of this documentation: tables and pictures, made from the code when it is built."""

from __future__ import annotations

from typing import Any

import diagrams
import tables
import versions
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective


class Generated(SphinxDirective):
    """``{generated} settings mews own`` is the table ``tables.settings("mews", "own")``."""

    required_arguments = 1
    optional_arguments = 2

    def run(self) -> list[nodes.Node]:
        # The tables come from the code, so a change of the code must build the page again.
        self.env.note_reread()
        return self.parse_text_to_nodes(tables.table(*self.arguments))


class Diagram(SphinxDirective):
    """``{diagram} states`` or ``{diagram} requests mews``: a picture of :mod:`diagrams`, and its words."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        words = diagrams.words(*self.arguments)
        picture = nodes.raw("", diagrams.picture(*self.arguments), format="html")
        return [picture, *(self.parse_text_to_nodes(words) if words else [])]


class Versions(SphinxDirective):
    """``{versions}``: what works on which version of Airflow, of :mod:`versions`."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        return self.parse_text_to_nodes(versions.table())


def resolve_short_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    """Resolve a name that a docstring gives without its module, if only one thing is called so."""
    if node.get("refdomain") != "py" or node["reftarget"].startswith("airflow_provider_exports."):
        return None
    python = env.domains.python_domain
    names = [name for name in python.objects if name.endswith(f".{node['reftarget']}")]
    if len(names) != 1:
        return None
    role, source = node["reftype"], node.get("refdoc", "")
    return python.resolve_xref(env, source, app.builder, role, names[0], node, content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("missing-reference", resolve_short_name)
    app.add_directive("generated", Generated)
    app.add_directive("diagram", Diagram)
    app.add_directive("versions", Versions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
