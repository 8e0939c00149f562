"""``{command-help} grid``: what `jaxsparse grid --help` prints, 100 columns wide."""

import os
import subprocess
import sys
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


class CommandHelp(SphinxDirective):
    required_arguments = 0
    optional_arguments = 2

    def run(self) -> list[nodes.Node]:
        command = [sys.executable, "-m", "jaxsparse", *self.arguments, "--help"]
        plain = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
        ran = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
        return [nodes.literal_block(ran.stdout, ran.stdout, language="text", classes=["help"])]


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
