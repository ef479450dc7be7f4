"""
How sure are we of what was filled in?
======================================

A table with holes is completed before a regression. One completion, whatever it is,
lets the regression believe that it has seen all cells, and its standard errors are too
small. Several completions by draws differ as much as the holes cost, and Rubin's rules
(1987) put that into the interval of each coefficient. The holes are made here, so that
the complete table can be asked, too.
"""

# %%
# Measurements of 442 patients, of which cells are hidden: half of the body mass indices
# of older patients, and a fifth of some others.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

from sklearn_unsup.impute import GenerativeImputer

table = load_diabetes(as_frame=True, scaled=False).frame
columns = ["age", "bmi", "bp", "s5"]
table = table[[*columns, "target"]]
rng = np.random.default_rng(0)
hidden = pd.DataFrame(rng.random(table.shape) < 0.2, table.index, table.columns)
hidden["bmi"] = rng.random(len(table)) < np.where(table["age"] > 50, 0.6, 0.2)
hidden[["age", "target"]] = False
holes = table.mask(hidden)
print(holes.isna().mean().round(2))


# %%
# A regression of the progression of the disease, with variances of its coefficients.
def regression(rows):
    X = (rows[columns] - table[columns].mean()) / table[columns].std()
    X = np.column_stack([np.ones(len(X)), X])
    y = rows["target"].to_numpy()
    inverse = np.linalg.inv(X.T @ X)
    coefficients = inverse @ X.T @ y
    residual = y - X @ coefficients
    noise = residual @ residual / (len(y) - X.shape[1])
    return coefficients[1:], noise * inverse.diagonal()[1:]


# %%
# Draws, and not means: those would lie on the regression line, and make it look surer
# than it is. The target is among the columns of the imputer: without it the draws would
# know nothing of what the regression is about, and its coefficients would shrink.
imputer = GenerativeImputer(sample_posterior=True, random_state=0).fit(holes)
completed = [imputer.transform(holes) for _ in range(5)]

# %%
# Rubin's rules: the mean of the coefficients; the mean of their variances, plus the
# variance between the completed tables.
found, variances = map(np.array, zip(*map(regression, completed), strict=True))
within, between = variances.mean(axis=0), found.var(axis=0, ddof=1)
results = {
    "all cells": regression(table),
    "complete rows": regression(holes.dropna()),
    "one completion": regression(completed[0]),
    "five, pooled": (found.mean(axis=0), within + (1 + 1 / 5) * between),
}
errors = pd.DataFrame(
    {name: np.sqrt(variance) for name, (_, variance) in results.items()}, columns
)
print("standard errors")
print(errors.round(2))
assert (errors["five, pooled"] > errors["one completion"] * 0.9).all()
assert errors["five, pooled"].mean() < errors["complete rows"].mean()

# %%
# Intervals that allow for two standard errors. Rows without any hole are less than half
# of the table; pooling uses what the others have.
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for place, (name, (mean, variance)) in enumerate(results.items()):
    where = np.arange(len(columns)) + 0.15 * (place - 1.5)
    ax.errorbar(where, mean, 2 * np.sqrt(variance), fmt="o", label=name)
ax.axhline(0, color="k", linewidth=0.5)
ax.set_xticks(range(len(columns)), columns)
ax.set_ylabel("coefficient, per standard deviation")
ax.legend()
plt.show()

# %%
# The interval of a single cell is another thing: quantiles of some draws of it.
several = np.stack([imputer.transform(holes)["bmi"] for _ in range(20)])
low, high = np.quantile(several, [0.05, 0.95], axis=0, method="weibull")
inside = table["bmi"].between(low, high)[hidden["bmi"]].mean()
print(f"{100 * inside:.0f} % of the hidden values are in their 90 % intervals")
assert 0.8 < inside < 0.98
