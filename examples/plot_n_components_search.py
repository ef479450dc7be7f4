"""
How many components? A grid search, beside PCA
==============================================

Which size of the code is best depends on what comes after it. So let the whole pipeline
be searched: reducer and size are two parameters like any others, and the score is that
of the classifier at the end, on rows that neither it nor the reducer has seen.
"""

# %%
# 900 digits, a pipeline of two steps, and a grid of two reducers and three sizes. A
# smaller network than the default one keeps the search short.
import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from sklearn_unsup import AutoencoderTransformer

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, train_size=900, random_state=0
)

autoencoder = AutoencoderTransformer(
    hidden_layer_sizes=(128, 64), max_iter=40, random_state=0
)
search = GridSearchCV(
    Pipeline([("reduce", PCA()), ("classify", KNeighborsClassifier())]),
    {"reduce": [PCA(), autoencoder], "reduce__n_components": [2, 4, 8]},
    cv=3,
)
search.fit(X_train, y_train)

# %%
# The score of each size; the bars are the standard deviation over the folds.
results = pd.DataFrame(search.cv_results_)
results["name"] = [type(step).__name__ for step in results["param_reduce"]]
figure, ax = plt.subplots(figsize=(6, 4.5), layout="constrained")
for name, part in results.groupby("name"):
    ax.errorbar(
        part["param_reduce__n_components"].astype(int),
        part["mean_test_score"],
        part["std_test_score"],
        marker="o",
        capsize=3,
        label=name,
    )
ax.set_xscale("log", base=2)
ax.set_xticks([2, 4, 8], [2, 4, 8])
ax.set(xlabel="n_components", ylabel="accuracy, mean over 3 folds")
ax.legend(loc="lower right")
plt.show()

# %%
# What is best, and what is it worth on rows that the search has not seen?
print(search.best_params_)
print(f"held-out accuracy {search.score(X_test, y_test):.3f}")

# %%
# A short code is where the autoencoder earns its keep. With room for 8 numbers or more,
# PCA does as well in no time at all: when the search says so, take PCA.
scores = results.pivot_table(
    "mean_test_score", "param_reduce__n_components", "name"
).astype(float)
gain = scores["AutoencoderTransformer"] - scores["PCA"]
print(gain.round(3).to_string())

assert gain[2] > 0.01
assert gain[4] > 0.01
assert abs(gain[8]) < 0.03
