"""
Do samples with a condition follow the true conditional distribution?
=====================================================================

``sample(conditions=...)`` promises that every row meets the condition. That alone is
easy: one could write the value into any row. This page asks whether the *other* columns
are what they should be, on a table whose true distribution is known.
"""

# %%
# A table of numbers, counts, dates, categories and holes, and its exact law.
import matplotlib.pyplot as plt
import numpy as np

from sklearn_unsup import VAETransformer
from sklearn_unsup.datasets import make_mixed_table

table, truth = make_mixed_table(5_000, random_state=0)
table.head()

# %%
# One fit, and 5,000 rows for each plan.
vae = VAETransformer(random_state=0).fit(table)
plans = ["basic", "plus", "pro"]
drawn = {
    plan: vae.sample(5_000, conditions={"plan": plan}, random_state=0) for plan in plans
}
assert all((rows["plan"] == plan).all() for plan, rows in drawn.items())

# %%
# Height against its true density, which the plan changes.
figure, axes = plt.subplots(1, 3, figsize=(12, 3.5), sharex=True, layout="constrained")
edges = np.linspace(130, 205, 61)
for ax, (plan, rows) in zip(axes, drawn.items(), strict=True):
    ax.hist(rows["height"].dropna(), edges, density=True, alpha=0.5, label="samples")
    mass = np.diff(truth.cdf("height", edges, {"plan": plan}))
    ax.stairs(mass / np.diff(edges), edges, label="truth")
    ax.set(title=f"plan is {plan}", xlabel="height")
axes[0].set_ylabel("density")
axes[0].legend()
plt.show()

# %%
# And in numbers: what the plan says about weight and visits.
for plan, rows in drawn.items():
    for column in ("weight", "visits"):
        mean, deviation = truth.moments(column, {"plan": plan})
        error = (rows[column].mean() - mean) / deviation
        print(f"{plan:6} {column:7} {rows[column].mean():6.2f} (true {mean:6.2f})")
        assert abs(error) < 0.15
