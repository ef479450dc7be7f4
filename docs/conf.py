"""Sphinx configuration; `make docs` builds the pages into docs/_build/html.

Nothing is downloaded. Set DOCS_INTERSPHINX=1 to link names of other projects to their
pages, which fetches one index of each.
"""

import os
import sys

import sklearn_unsup

sys.path.insert(0, os.path.dirname(__file__))
from parameter_groups import group_parameters

project = "sklearn_unsup"
author = "The sklearn_unsup developers"
copyright = f"2026, {author}"
version = release = sklearn_unsup.__version__

extensions = [
    "myst_parser",  # for the changelog, which is Markdown
    "numpydoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",  # each class and function leads to its source
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
default_role = "literal"
smartquotes_action = "D"  # dashes; quotes belong to values such as "auto"
toc_object_entries_show_parents = "hide"

autosummary_generate = True
numpydoc_show_class_members = False  # the template lists them

if os.environ.get("DOCS_INTERSPHINX") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "imblearn": ("https://imbalanced-learn.org/stable", None),
        "skorch": ("https://skorch.readthedocs.io/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_",
    "ignore_pattern": "quickstart",
    "parallel": 2,
    "abort_on_example_error": True,
    "show_signature": False,
    # the builder's seconds say nothing of the reader's
    "min_reported_time": 10_000,
    "write_computation_times": False,
    # names in the code link to their page, which lists the examples that use them
    "doc_module": ("sklearn_unsup",),
    "reference_url": {"sklearn_unsup": None},
    "backreferences_dir": "generated/examples_of",
}

# A click copies what is typed, without prompts and output.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"sklearn_unsup {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {"**": ["all-pages.html"]}
html_theme_options = {
    "logo": {"text": project},
    "navbar_center": [],  # the side bar has all pages
    "navigation_with_keys": False,
    # what the benchmarks print is wide, and their contents stand at the top
    "secondary_sidebar_items": {"**": ["page-toc"], "benchmarks": []},
    "footer_start": ["copyright"],
    "footer_end": [],
}


def setup(app):
    """Group parameters after numpydoc, whose priority is 500, has listed them."""
    app.connect("autodoc-process-docstring", group_parameters, priority=600)
