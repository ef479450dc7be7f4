"""
How much of a picture fits into two numbers?
============================================

PCA answers for linear maps. The autoencoder starts at PCA and leaves it only for
something better; this page shows what it finds for scikit-learn's digits, and what one
fit with ``ordered=True`` has to say about every size of the code.
"""

# %%
# Two components of each. The pictures below were not seen by either fit.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklearn_unsup import AutoencoderTransformer

X, y = load_digits(return_X_y=True)
X_train, X_test, _, y_test = train_test_split(X / 16, y, random_state=0)


def variance_kept(rebuilt):
    """Share of the variance of the held-out pictures that a reconstruction keeps."""
    spread = np.square(X_test - X_train.mean(axis=0)).sum()
    return 1 - np.square(X_test - rebuilt).sum() / spread


models = {"PCA": PCA(2), "autoencoder": AutoencoderTransformer(2, random_state=0)}
figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
kept = {}
for ax, (name, model) in zip(axes, models.items(), strict=True):
    codes = model.fit(X_train).transform(X_test)
    kept[name] = variance_kept(model.inverse_transform(codes))
    ax.scatter(*codes.T, c=y_test, cmap="tab10", s=8)
    ax.set_title(f"{name}: keeps {kept[name]:.0%} of the variance")
plt.show()

assert kept["autoencoder"] > kept["PCA"] + 0.1

# %%
# Ordered components: one fit serves every size. The first k columns of its code are a
# good code of size k; with a float, ``n_components=0.8`` keeps as many as explain that
# share.
ordered = AutoencoderTransformer(16, ordered=True, random_state=0).fit(X_train)
pca = PCA(16).fit(X_train)
codes = ordered.transform(X_test)

sizes = [1, 2, 4, 8, 16]
curves = {"PCA": [], "ordered autoencoder": []}
for k in sizes:
    first = np.where(np.arange(16) < k, codes, 0)
    curves["ordered autoencoder"].append(
        variance_kept(ordered.inverse_transform(first))
    )
    first = np.where(np.arange(16) < k, pca.transform(X_test), 0)
    curves["PCA"].append(variance_kept(pca.inverse_transform(first)))

figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
for name, curve in curves.items():
    ax.plot(sizes, curve, "o-", label=name)
ax.set(xlabel="components kept", ylabel="variance kept, held-out pictures")
ax.legend()
plt.show()

assert np.all(np.array(curves["ordered autoencoder"]) > curves["PCA"])
