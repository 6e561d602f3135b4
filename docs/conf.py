"""The site: `nox -s docs` builds it, docs.readthedocs.io too (`.readthedocs.yaml`)."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "pinned_requests"
author = "The authors of pinned_requests"
project_copyright = author
release = version = installed_version("pinned-requests")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "commands",
    "docstrings",
    "other_guides",
    "repository_links",
]
exclude_patterns = ["_extensions"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # `Attributes:` of a docstring, beside which autodoc lists properties
napoleon_use_rtype = False
python_maximum_signature_line_length = 88

smartquotes_action = "qe"  # quotes and ellipses; two hyphens are those of an option
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!pinned_requests\.).*"),  # of other projects: their inventories are on the network
    ("py:.*", r"pinned_requests\.(core|tls|transport|(?:monitoring|testing)\.\w+)\..*"),  # private ones, in signatures
]

html_theme = "furo"
html_title = f"pinned_requests {release}"
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/pinned-requests/pinned_requests/",
    "source_branch": "main",
    "source_directory": "docs/",
}
