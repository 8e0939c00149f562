"""The documentation site: `sphinx-build -W docs build/site`."""

import shutil
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the two extensions at the end

project = "jaxsparse"
author = "the jaxsparse authors"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "command_help",
    "markdown_docstrings",
]
exclude_patterns = ["examples", "explorer"]

html_theme = "sphinx_book_theme"
html_title = "jaxsparse"
html_theme_options = {"show_toc_level": 2, "use_download_button": True, "navbar_persistent": []}
html_static_path = ["site.css"]
html_css_files = ["site.css"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
nb_execution_mode = "cache"  # a notebook that did not change is not run again
nb_execution_in_temp = True
# Weights that PyTorch wrote are read with PyTorch: without it that notebook is shown as it is.
nb_execution_excludepatterns = [] if find_spec("torch") else ["notebooks/published*"]
nb_execution_timeout = 240
nb_execution_raise_on_error = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
_ALIASES = "Amount Bounds Comparison Form GradientFunction LearningRate Method Named Plan Scalar Schedule Scores Source"
autodoc_type_aliases = {name: name for name in (_ALIASES + " Sparsity Targets Tree").split()}  # shown by name
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# Where there is no network, links to other projects are left out: the second place is an inventory of nothing.
_nothing = Path(__file__).parents[1] / "build" / "nothing.inv"
_nothing.parent.mkdir(exist_ok=True)
_nothing.write_bytes(
    b"# Sphinx inventory version 2\n# Project: nothing\n# Version: 0\n"
    b"# The remainder of this file is compressed using zlib.\n" + zlib.compress(b"")
)
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", (None, str(_nothing))),
    "numpy": ("https://numpy.org/doc/stable", (None, str(_nothing))),
    "jax": ("https://docs.jax.dev/en/latest", (None, str(_nothing))),
    "flax": ("https://flax.readthedocs.io/en/latest", (None, str(_nothing))),
    "optax": ("https://optax.readthedocs.io/en/latest", (None, str(_nothing))),
}
intersphinx_timeout = 10


def setup(app: Any) -> None:
    def explorer(app: Any, exception: Exception | None) -> None:
        """The explorer is a page as it is, in a folder of its own."""
        if exception is None:
            shutil.copytree(Path(app.srcdir) / "explorer", Path(app.outdir) / "explorer", dirs_exist_ok=True)

    app.connect("build-finished", explorer)
