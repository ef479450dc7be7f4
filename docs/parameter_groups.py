"""Groups of the estimators' parameters, as their pages show them.

A docstring of numpydoc lists parameters in the order of the signature. More than thirty
in one row say nothing of which a reader needs first, so `conf.py` calls `group` on what
numpydoc made of a docstring. The docstrings themselves stay as they are.
"""

import re

GROUPS = {
    "Often set": (
        "n_components",
        "sampling",
        "ordered",
        "categorical_features",
        "handle_unknown",
        "constraints",
        "max_iter",
        "random_state",
    ),
    "Networks and loss": (
        "hidden_layer_sizes",
        "critic_hidden_layer_sizes",
        "activation",
        "encoder",
        "decoder",
        "generator",
        "critic",
        "loss",
        "beta",
        "noise",
        "n_critic_steps",
        "gradient_penalty",
    ),
    "Columns": ("numeric_scaling", "max_categories", "image_shape"),
    "New rows": ("latent_density", "density_ratio", "privacy"),
    "Training": (
        "batch_size",
        "optimizer",
        "learning_rate_init",
        "weight_decay",
        "early_stopping",
        "validation_fraction",
        "n_iter_no_change",
        "tol",
        "warm_start",
        "callbacks",
        "verbose",
    ),
    "Device and scale": ("device", "data_parallel", "mixed_precision"),
}
# Estimators with fewer parameters need no groups.
GROUPED = (
    "sklearn_unsup.AutoencoderTransformer",
    "sklearn_unsup.GANSampler",
    "sklearn_unsup.VAETransformer",
)


def group(lines):
    """Lines of a docstring in reStructuredText, its list of parameters in groups.

    What is described together, as "encoder, decoder", goes where the first of them
    belongs. A parameter that is in no group is an error, so that no page lacks one.
    """
    start = lines.index(":Parameters:") + 1
    end = start
    while end < len(lines) and (not lines[end] or lines[end].startswith("    ")):
        end += 1
    entries, name = {}, None
    for line in lines[start:end]:
        if match := re.match(r"    \*\*(\w+)[\w, ]*\*\* :", line):
            name = match[1]
            entries[name] = []
        if name is not None:
            entries[name].append(line)
    grouped = [""]
    for title, names in GROUPS.items():
        found = [line for name in names for line in entries.pop(name, [])]
        if found:
            grouped += [f"    .. rubric:: {title}", "", *found]
    if entries:
        raise ValueError(f"docs/parameter_groups.py has no group for {list(entries)}")
    return [*lines[:start], *grouped, *lines[end:]]


def group_parameters(app, what, name, obj, options, lines):
    """Group the parameters of the estimators; called by autodoc after numpydoc."""
    if what == "class" and name in GROUPED:
        lines[:] = group(lines)
