"""
Does the GAN find every mode?
=============================

Twenty-five narrow heaps on a grid are the classic trap: a generator that draws some of
them well can fool its critic and never draw the others. This page watches
``GANSampler`` while it learns the grid, and then makes the task harder.
"""

# %%
# 2,500 rows, a hundred in each heap.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklearn_unsup import GANSampler, VAETransformer

rng = np.random.default_rng(0)
centres = 2.0 * np.array([(x, y) for x in range(-2, 3) for y in range(-2, 3)])
X = np.repeat(centres, 100, axis=0) + 0.1 * rng.normal(size=(2_500, 2))


def rows_in_heaps(rows, centres):
    """Rows within four standard deviations of each centre."""
    distance = np.linalg.norm(rows[:, None] - centres, axis=2)
    nearest = distance.argmin(axis=1)[distance.min(axis=1) < 0.4]
    return np.bincount(nearest, minlength=len(centres))


def draw(ax, rows, title, centres):
    """Scatter plot, with the share of rows in heaps and the heaps that have some."""
    counts = rows_in_heaps(rows, centres)
    ax.plot(*rows.T, ".", ms=1.5)
    ax.set(xlim=(-6.5, 6.5), ylim=(-6.5, 6.5), aspect="equal", title=title)
    ax.set(xticks=[-4, 0, 4], yticks=[-4, 0, 4])
    ax.set_xlabel(
        f"{(counts >= 25).sum()} heaps, {counts.sum() / len(rows):.0%} in them"
    )
    return counts


# %%
# With ``warm_start`` each `fit` goes on where the last one ended, so that one can look
# in between. A heap counts as found if it gets a quarter of the rows that it should.
# The warning that modes are missing is right at first, and is not repeated here.
gan = GANSampler(2, warm_start=True, random_state=0)
figure, axes = plt.subplots(1, 5, figsize=(13, 3.2), layout="constrained", sharey=True)
draw(axes[0], X, "real", centres)
for ax, epochs in zip(axes[1:], (1, 2, 7, 10), strict=True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        gan.set_params(max_iter=epochs).fit(X)
    title = f"epoch {gan.n_iter_}"
    counts = draw(ax, gan.sample(2_500, random_state=0), title, centres)
plt.show()

assert counts.min() >= 25
assert counts.sum() > 0.9 * 2_500

# %%
# All are found, and soon: in this grid every column has five values and the columns do
# not depend on each other, which suits a model that encodes numbers by their ranks.
# Turned by 30 degrees the heaps are the same, but no single column shows them any more.
angle = np.deg2rad(30)
turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
models = {
    "GAN, density_ratio=None": GANSampler(
        2, max_iter=60, density_ratio=None, random_state=0
    ),
    "GAN": GANSampler(2, max_iter=60, random_state=0),
    "VAE": VAETransformer(2, random_state=0),
}
figure, axes = plt.subplots(1, 4, figsize=(11, 3.4), layout="constrained", sharey=True)
draw(axes[0], X @ turn, "real", centres @ turn)
hits = {}
for ax, (name, model) in zip(axes[1:], models.items(), strict=True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        rows = model.fit(X @ turn).sample(2_500, random_state=0)
    hits[name] = draw(ax, rows, name, centres @ turn)
plt.show()

# %%
# Here the generator is at its limit: it reaches all of the grid, but most of its rows
# lie between the heaps, and more epochs change little. By default `sample` lets a
# classifier of real and generated rows weight them, which brings more than half of them
# into heaps. ``VAETransformer`` draws one column given the other; it leaves fewer
# between, and takes less time. So look at the samples, and try the other model.
assert hits["GAN"].sum() > hits["GAN, density_ratio=None"].sum() + 250
assert hits["VAE"].min() >= 25
assert hits["VAE"].sum() > 0.5 * 2_500
