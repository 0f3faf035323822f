"""`Config parameters:` of --help, in the form of the original's."""

from __future__ import annotations

import json

from prouter.pluginkit.schema import Schema, default_of


def config_parameters(schema: Schema) -> str:
    """One line a parameter, sections apart."""
    lines = ["Config parameters:"]
    section = None
    for parameter in schema:
        above = parameter.key.rpartition(".")[0]
        if above != section:
            lines.append("")
            section = above
        text = str(parameter.schema.get("description", "")).strip()
        default = "" if parameter.secret else f" (default: {json.dumps(default_of(parameter.schema))})"
        lines.append(f"    {parameter.key} - {text}{default}")
    return "\n".join(lines)
