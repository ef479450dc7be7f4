"""
What lies between two digits?
=============================

Half of one picture and half of another make a double exposure. A variational
autoencoder fills the space of its codes, so that half of one code and half of another
should be the code of a picture again. This page walks from digit to digit, and asks
whether what lies on the way looks like any real digit.
"""

# %%
# Two numbers for each picture. A table that looks like pixels is recognised as such,
# and each pixel is then read as a probability.
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors

from sklearn_unsup import VAETransformer
from sklearn_unsup.inspection import TraversalDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
vae = VAETransformer(2, random_state=0).fit(X_train)

# %%
# One number at a time: the other one stays at its mean, and the values are quantiles of
# the codes of the training pictures.
display = TraversalDisplay.from_estimator(vae, [0, 1], image_shape=(8, 8))
plt.show()

# %%
# The plane of codes, decoded. The steps are even in probability: as many rows of the
# prior lie between one column and the next. Each line is a traversal of component 0
# that passes a code with another component 1.
steps = norm.ppf(np.linspace(0.03, 0.97, 15))
lines = [vae.traverse(0, values=steps, at=(0, up)) for up in steps[::-1]]
pictures = np.reshape(lines, (15, 15, 8, 8))
pictures = np.pad(pictures, [(0, 0), (0, 0), (1, 1), (1, 1)])
figure, ax = plt.subplots(figsize=(6, 6), layout="constrained")
ax.imshow(pictures.swapaxes(1, 2).reshape(150, 150), cmap="gray_r", vmin=0, vmax=1)
places, labels = np.arange(0, 15, 2), [f"{step:.1f}" for step in steps[::2]]
ax.set_xticks(10 * places + 4.5, labels)
ax.set_yticks(10 * places + 4.5, labels[::-1])
ax.set(xlabel="component 0", ylabel="component 1")
plt.show()

# %%
# A walk in nine steps from a typical 0 to a typical 4, both held out: above through the
# codes, below through the pixels.
codes = vae.transform(X_test)


def typical(digit):
    """Position of the picture whose code is nearest to the mean code of its digit."""
    distance = np.linalg.norm(codes - codes[y_test == digit].mean(axis=0), axis=1)
    return np.where(y_test == digit, distance, np.inf).argmin()


start, end = typical(0), typical(4)
share = np.linspace(0, 1, 9)[:, None]
walks = {
    "codes": vae.inverse_transform((1 - share) * codes[start] + share * codes[end]),
    "pixels": (1 - share) * X_test[start] + share * X_test[end],
}
figure, axes = plt.subplots(2, 9, figsize=(9, 2.4), layout="constrained")
for row, (name, walk) in zip(axes, walks.items(), strict=True):
    for ax, picture in zip(row, walk, strict=True):
        ax.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)
plt.show()

# %%
# And for 200 random pairs of different digits: how far is the picture in the middle
# from the nearest real one?
rng = np.random.default_rng(0)
pairs = rng.integers(len(X_test), size=(1000, 2))
pairs = pairs[y_test[pairs[:, 0]] != y_test[pairs[:, 1]]][:200]
middles = {
    "codes": vae.inverse_transform(codes[pairs].mean(axis=1)),
    "pixels": X_test[pairs].mean(axis=1),
}
real = NearestNeighbors(n_neighbors=1).fit(X_train)
gaps = {name: real.kneighbors(rows)[0][:, 0] for name, rows in middles.items()}
for name, gap in gaps.items():
    print(f"half-way through the {name}: {gap.mean():.2f} from the nearest real digit")
usual = real.kneighbors(X_test)[0].mean()
print(f"a real digit that was held out: {usual:.2f}")

# %%
# Two numbers cannot say all of a picture, and the decoder's are blurred. But what lies
# between two codes is nearly as close to some real digit as real digits are to each
# other, and what lies between two pictures, which is blurred as well, is not.
assert gaps["codes"].mean() < gaps["pixels"].mean() - 0.1
