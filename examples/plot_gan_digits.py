"""
Does a classic GAN draw digits?
===============================

The GAN that tutorials begin with turns 100 numbers of noise through one hidden layer of
128 units into a picture, while a critic learns to tell its pictures from real ones.
This page builds it for scikit-learn's digits, and checks what it draws: are they
digits, all ten of them, and new ones?
"""

# %%
# Pictures as rows of grey levels from 0 to 1. The loss is the classic one too,
# ``loss="minimax"`` in its non-saturating form. What is not classic is the penalty on
# the critic's gradient, which is on by default and keeps the game from going round in
# circles, and that a running average of the generator draws. With the default loss,
# "relativistic", the pictures are as good; it is the safer choice where modes are far
# apart.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import SVC

from sklearn_unsup import GANSampler
from sklearn_unsup.inspection import LossCurveDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)

gan = GANSampler(100, hidden_layer_sizes=(128,), loss="minimax", random_state=0)
drawn = gan.fit(X_train).sample(1_000, random_state=0)

# %%
# Drawn digits, and real ones. The grey dust goes with more training: three times the
# epochs, ``max_iter=500``, leave a third of it.
figure = plt.figure(figsize=(9, 4.6), layout="constrained")
parts = figure.subfigures(1, 2)
for part, (title, rows) in zip(
    parts, {"drawn": drawn, "real": X_test}.items(), strict=True
):
    part.suptitle(title)
    for ax, row in zip(part.subplots(8, 8).flat, rows, strict=False):
        ax.imshow(row.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set_axis_off()
plt.show()

# %%
# Unlike that of a classifier, the loss says little about how well it went. Where the
# critic cannot tell real from drawn at all, the generator's is log 2, or 0.69, and the
# critic's, which adds up real and drawn pictures, twice that.
LossCurveDisplay.from_estimator(gan)
plt.show()

# %%
# All ten? A classifier of real digits says what was drawn. ``coverage_`` asks more: for
# how many training pictures there is a drawn one among their near neighbours.
classifier = SVC().fit(X_train, y_train)
shares = np.bincount(classifier.predict(drawn), minlength=10) / len(drawn)
print("share of each digit:", *(f"{share:.0%}" for share in shares))
print(f"coverage: {gan.coverage_:.2f}")

# %%
# New ones? If the training pictures had been learnt by heart, what is drawn would be
# nearer to them than held-out digits are.
near = NearestNeighbors(n_neighbors=1).fit(X_train)
for name, rows in {"drawn": drawn, "held out": X_test}.items():
    print(f"{name:8} {near.kneighbors(rows)[0].mean():.2f} from a training picture")

assert shares.min() > 0.04
assert gan.coverage_ > 0.5
