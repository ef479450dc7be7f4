"""
One ordered fit, or one fit for each size of the code?
======================================================

The components of PCA are ordered: the first two are the PCA of size two. Those of an
autoencoder usually are not, and every size takes a fit of its own. With
``ordered=True`` one fit serves them all. This page shows what that saves and costs.
"""

# %%
# Digits as rows of 64 pixels; what follows is measured on held-out ones.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklearn_unsup import AutoencoderTransformer

X_train, X_test = train_test_split(load_digits().data / 16, random_state=0)
sizes = [1, 2, 4, 8, 16]
options = {"hidden_layer_sizes": (128, 64), "random_state": 0}


def variance_kept(model, k):
    """Share of the variance of held-out rows in the first k components."""
    codes = model.transform(X_test)
    codes[:, k:] = 0
    lost = np.square(X_test - model.inverse_transform(codes)).sum()
    return 1 - lost / np.square(X_test - X_train.mean(axis=0)).sum()


# %%
# One ordered fit, one PCA, and five fits of the usual kind.
ordered = AutoencoderTransformer(16, ordered=True, **options).fit(X_train)
pca = PCA(16).fit(X_train)
kept = {
    "a fit for each size": [
        variance_kept(AutoencoderTransformer(k, **options).fit(X_train), k)
        for k in sizes
    ],
    "one ordered fit": [variance_kept(ordered, k) for k in sizes],
    "PCA": [variance_kept(pca, k) for k in sizes],
}
figure, ax = plt.subplots(figsize=(6, 4.5), layout="constrained")
for name, curve in kept.items():
    ax.plot(sizes, curve, "o-", label=name)
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, sizes)
ax.set(xlabel="components", ylabel="variance kept, held-out pictures", ylim=(0, 1))
ax.legend(loc="lower right")
plt.show()

# %%
# The ordered code pays for its order where it is shortest: its first component, which
# has to be of use in every longer code, is hardly better than PCA's. From four on it is
# clearly ahead of PCA, and at its full size little is lost. So take the ordered fit
# to choose a size, and fit that size alone if it is a small one.
#
# On the training table, ``explained_variance_ratio_`` says what each component adds.
for k, total in enumerate(np.cumsum(ordered.explained_variance_ratio_), start=1):
    print(f"{k:2} components: {total:.1%}")

# %%
# A share instead of a size keeps as many components as it takes. It may take more than
# the list above says, because all pixels compete for the order then, and not sixteen
# components.
share = AutoencoderTransformer(0.8, ordered=True, **options).fit(X_train)
print(f"80 % of the variance: {share.n_components_} components")
assert share.transform(X_test).shape[1] == share.n_components_ < 16

alone, ordered_kept, pca_kept = map(np.array, kept.values())
assert np.all(ordered_kept[2:] > pca_kept[2:] + 0.03)
assert np.all(alone[:3] > ordered_kept[:3] + 0.05)
assert ordered_kept[-1] > alone[-1] - 0.05
