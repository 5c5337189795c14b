"""The documentation site: `make site`. Docstrings are written for reading in a terminal, so they are made
reStructuredText here: backticks stay what they are, everything else is plain.
"""

from __future__ import annotations

import re

import aiodicom
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "aiodicom"
release = aiodicom.__version__
copyright = "the authors of aiodicom"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "aiodicom"
default_role = "code"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 60
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_maximum_signature_line_length = 88

_SPAN = re.compile(r"(``.+?``|`[^`]+`)")


def plain(text: str) -> str:
    """A line of a docstring, its stars, bars and backslashes for what they are."""
    parts = _SPAN.split(text)
    return "".join(
        part if number % 2 else re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def make_plain(app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """Paragraphs stay paragraphs; what is indented within one is code, or goes on with it.

    An example, from its first prompt to an empty line, stays as it is.
    """
    made: list[str] = []
    example = False
    for line in lines:
        example = bool(line) and (example or line.startswith(">>> "))
        if example:
            made.append(line)
            continue
        indented = line.startswith(" ")
        if indented and not (made and made[-1].startswith(" ")):
            made += ["", "::", ""] if not (made and made[-1].endswith("::")) else [""]
        elif made and made[-1].startswith(" ") and line and not indented:
            made.append("")
        made.append(line if indented else plain(line))
    lines[:] = made


def setup(app: Sphinx) -> None:
    """Sphinx's hook."""
    app.connect("autodoc-process-docstring", make_plain)
    app.add_lexer("mermaid", TextLexer)
