"""
How much of a picture fits into two numbers?
============================================

PCA answers for linear maps. The autoencoder starts at PCA and leaves it only for
something better; this page shows what it finds for scikit-learn's digits.
"""

# %%
# Two components of each. The pictures below were not seen by either fit, and no fit has
# seen which digit a picture shows.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from sklearn_unsup import AutoencoderTransformer
from sklearn_unsup.inspection import LatentSpaceDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)


def variance_kept(rebuilt):
    """Share of the variance of the held-out pictures that a reconstruction keeps."""
    spread = np.square(X_test - X_train.mean(axis=0)).sum()
    return 1 - np.square(X_test - rebuilt).sum() / spread


models = {"PCA": PCA(2), "autoencoder": AutoencoderTransformer(2, random_state=0)}
figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
kept, right = {}, {}
for ax, (name, model) in zip(axes, models.items(), strict=True):
    codes = model.fit(X_train).transform(X_test)
    kept[name] = variance_kept(model.inverse_transform(codes))
    nearest = KNeighborsClassifier().fit(model.transform(X_train), y_train)
    right[name] = nearest.score(codes, y_test)
    display = LatentSpaceDisplay.from_estimator(model, X_test, y_test, ax=ax)
    ax.set_title(f"{name}: {kept[name]:.0%} of the variance")
    display.legend_.remove()
figure.legend(handles=display.legend_.legend_handles, loc="outside right center")
plt.show()

# %%
# How often do the five nearest neighbours by two numbers name the right digit?
for name, share in right.items():
    print(f"{name:12} {share:.0%}")

assert kept["autoencoder"] > kept["PCA"] + 0.1
assert right["autoencoder"] > right["PCA"] + 0.05
