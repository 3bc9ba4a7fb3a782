"""How Sphinx builds the site of docs/: `sphinx-build -W --keep-going docs site` (extra `docs`)."""

from __future__ import annotations

import re

from litemkd import __version__

project = "litemkd"
author = copyright = "The litemkd developers"
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["**/.ipynb_checkpoints"]
nitpicky = False  # types in signatures name what no page describes, torch.Tensor for one

# Pages are written for GitHub too: its anchors of headings, and what it understands of Markdown.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_links_external_new_tab = False
nb_execution_mode = "off"  # tutorials keep small outputs; tests/tutorials runs them
nb_execution_raise_on_error = True

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

# Nothing is loaded from other hosts: the theme's files lie in the site, and letters are the reader's own.
html_theme = "furo"
html_title = "litemkd"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["../experiments/schema.json"]  # of experiment files, for editors
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}


def as_markup(app: object, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with code in single backticks and examples set in; no other markup is meant."""
    margin: int | None = None  # of the text around an example
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line or (margin is not None and indent > margin):
            continue
        margin = None
        parts = re.split(r"(`+[^`]+`+)", line)
        lines[number] = "".join(
            f"``{part.strip('`')}``"
            if part.startswith("`")
            else re.sub(r"(\*|\||(?<=\w)_(?!\w))", r"\\\1", part)
            for part in parts
        )
        following = [*lines[number + 1 :], "", ""]
        if line.endswith(":") and not following[0] and following[1].startswith(" " * (indent + 1)):
            lines[number], margin = f"{lines[number]}:", indent


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_markup, priority=100)  # before napoleon  # type: ignore
