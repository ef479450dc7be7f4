"""
What would this house cost, were it by the sea?
===============================================

A model of a whole table answers questions that nobody trained it for. Here one column
of some houses is changed, what follows from it is left open, and the model completes
the rows: what would they cost elsewhere? The table is made up, so that the true answer
is known.
"""

# %%
# Houses of three places. By the sea they are smaller than in the country, and each
# square metre costs more than twice as much.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_unsup import VAETransformer

PER_AREA = {"sea": 5.2, "city": 4.0, "country": 2.4}  # thousands


def price_of(place, area, age, rng):
    per_area = place.map(PER_AREA) * (1 - 0.004 * age)
    return (per_area * area * np.exp(0.1 * rng.normal(size=len(area)))).round(0)


rng = np.random.default_rng(0)
place = pd.Series(rng.choice(["sea", "city", "country"], 3_000, p=[0.2, 0.5, 0.3]))
area = place.map({"sea": 90, "city": 80, "country": 140}) * rng.gamma(12, 1 / 12, 3_000)
houses = pd.DataFrame({"place": place, "area": area.round(0)})
houses["rooms"] = (houses["area"] / 28 + rng.normal(0, 0.6, 3_000)).round().clip(1)
houses["age"] = rng.integers(0, 80, 3_000)
houses["price"] = price_of(place, houses["area"], houses["age"], rng)
houses.head()

# %%
# ``sampling="any_order"`` learns each column given any others, which is what a question
# about a column needs.
vae = VAETransformer(4, hidden_layer_sizes=(32,), sampling="any_order", random_state=0)
vae.fit(houses)

# %%
# Eight houses in the country. The same ones by the sea: area, rooms and age stay, the
# price is open. Sixty completions of each row say how sure the answer is.
country = houses[houses["place"] == "country"][:8].reset_index(drop=True)
by_the_sea = country.assign(place="sea", price=np.nan)
expected = vae.impute(by_the_sea)["price"]
draws = np.stack(
    [
        vae.impute(by_the_sea, sample_posterior=True, random_state=seed)["price"]
        for seed in range(60)
    ]
)
low, high = np.quantile(draws, [0.05, 0.95], axis=0, method="weibull")
truth = PER_AREA["sea"] * (1 - 0.004 * country["age"]) * country["area"]
answer = country.assign(by_the_sea=expected.round(0), low=low, high=high, truth=truth)
answer.round(0)

# %%
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
rows = np.arange(len(country))
ax.plot(rows, country["price"], "o", label="in the country")
ax.errorbar(
    rows, expected, [expected - low, high - expected], fmt="s", label="by the sea"
)
ax.plot(rows, truth, "k_", markersize=14, label="truth")
ax.set(xlabel="house", ylabel="price, thousands")
ax.legend()
plt.show()

error = np.abs(expected / truth - 1).mean()
print(f"off by {100 * error:.0f} % on average")
assert error < 0.15

# %%
# What else changes with the place? Leave more cells open, and they follow, too: houses
# by the sea are smaller. The question is then another one: not what *this* house would
# cost, but what a house of its age costs there.
open_rows = by_the_sea.assign(area=np.nan, rooms=np.nan)
typical = vae.impute(open_rows)[["area", "price"]]
print(
    pd.concat(
        {
            "this house": answer[["area", "by_the_sea"]].set_axis(
                ["area", "price"], axis=1
            ),
            "a house": typical,
        },
        axis=1,
    ).round(0)
)
assert typical["area"].mean() < country["area"].mean()
