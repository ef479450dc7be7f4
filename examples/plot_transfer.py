"""
Few rows: does a model of a related table help?
===============================================

A pump that was started last week has filled 200 lines of its log book, too few to
learn how ten columns depend on each other. But its sister, which stands in a colder
hall and works harder, has filled 6,000. This page fits a model to the new log book
alone, and another that starts from a model of the old one.
"""

# %%
# Both pumps obey the same laws: load and wear, which nobody writes down, decide what
# the columns say. Load, temperature of the air and with them all ranges are different.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_unsup import VAETransformer


def log_book(n_rows, mean_load, mean_air, seed):
    rng = np.random.default_rng(seed)
    load = rng.beta(5 * mean_load, 5 * (1 - mean_load), n_rows)
    wear = rng.beta(2, 5, n_rows)
    noise = rng.normal(size=(8, n_rows))
    air = mean_air + 8 * noise[0]
    speed = 900 + 600 * np.sqrt(load) + 10 * noise[1]
    resonance = np.exp(-(((speed - 1_250) / 50) ** 2))
    oil = air + 25 * load + 20 * wear + noise[2]
    return pd.DataFrame(
        {
            "mode": np.select([load < 0.3, load > 0.7], ["idle", "peak"], "normal"),
            "air": air,
            "speed": speed,
            "power": speed * load * (1 + 0.02 * noise[3]) / 500,
            "oil": oil,
            "vibration": (0.2 + wear * load**2 + resonance) * np.exp(0.1 * noise[4]),
            "pressure": 8 - 2 * wear - speed / 1000 + 0.1 * noise[5],
            "efficiency": 0.8 - 1.5 * (load - 0.5) ** 2 + 0.01 * noise[6],
            "flow": 40 * load * (1.5 - load) + 0.5 * noise[7],
            "alarm": (oil > mean_air + 30) & (wear > 0.3),
        }
    )


old = log_book(6_000, mean_load=0.6, mean_air=10, seed=0)
new = log_book(2_400, mean_load=0.4, mean_air=22, seed=1)
held_out = new[400:]
new.head()

# %%
# The old model is fitted once. What is handed on is the model, or the file that it was
# saved to; none of its rows is needed.
known = VAETransformer(random_state=0).fit(old)

models = {}
for n_rows in (50, 100, 200, 400):
    few = new[:n_rows]
    models["alone", n_rows] = VAETransformer(random_state=0).fit(few)
    models["started", n_rows] = VAETransformer(random_state=0).fit(
        few, start_from=known
    )

# %%
# Log-likelihood of 2,000 lines of the new log book that no model has seen. In nats per
# row, one nat more means that a row as it happened was 2.7 times as likely.
nats = pd.Series({key: model.score(held_out) for key, model in models.items()})
nats = nats.unstack(0)
nats.index.name = "rows of the new pump"
print(nats.round(2).to_string())
unchanged = known.score(held_out)
print(f"the old model as it was: {unchanged:.2f}")

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, label in (("started", "started from the old model"), ("alone", "alone")):
    ax.plot(nats.index, nats[name], marker="o", label=label)
ax.axhline(unchanged, color="gray", linestyle=":", label="the old model as it was")
ax.set_xticks(nats.index)
ax.set(xlabel="rows of the new pump", ylabel="nats per held-out row")
ax.legend(loc="lower right")
plt.show()

# %%
# What this means for rows that are drawn: speed and power, which a narrow law ties
# together, in real and in drawn rows.
panels = {
    "held out": held_out,
    "alone": models["alone", 200].sample(1_000, random_state=0),
    "started from the old model": models["started", 200].sample(1_000, random_state=0),
}
figure, axes = plt.subplots(
    1, 3, figsize=(9, 3.2), sharex=True, sharey=True, layout="constrained"
)
for ax, (title, rows) in zip(axes, panels.items(), strict=True):
    ax.scatter(rows["speed"][:1_000], rows["power"][:1_000], s=4, alpha=0.5)
    ax.set(title=title, xlabel="speed, 1/min")
axes[0].set_ylabel("power, kW")
plt.show()

# %%
# The start brings a little, up to a tenth of a nat: few rows keep much by themselves.
# The old model itself knows the laws, but neither load nor air of the new hall: it is
# the best of the three while the few rows do not yet show how far each column goes.
# Where tables share no laws there is nothing to gain; then hold some rows out, as here,
# and compare.
gain = nats["started"] - nats["alone"]
assert (gain > -0.15).all()
assert gain.max() > 0
assert nats["started"][200] > unchanged
