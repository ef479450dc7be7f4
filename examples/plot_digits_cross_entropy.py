"""
The textbook autoencoder: is cross-entropy the right loss for pixels?
=====================================================================

The autoencoder that tutorials begin with squeezes the 784 pixels of MNIST through one
hidden layer of 32 units and is trained with binary cross-entropy. This page builds it
for the 64 pixels of scikit-learn's digits, and then asks what the loss is worth.
"""

# %%
# Grey levels from 0 to 1. A quarter of the pictures is held out.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklearn_unsup import AutoencoderTransformer
from sklearn_unsup.inspection import ReconstructionDisplay

X = load_digits().data / 16
X_train, X_test = train_test_split(X, random_state=0)

# %%
# 64-32-64. The code is the hidden layer, so no other is asked for. With
# ``loss="binary_crossentropy"`` each pixel is read as a probability: the output passes
# through a sigmoid. The ReLU that textbooks put on the code is left out on purpose,
# since units that it has switched off everywhere never come back.
textbook = AutoencoderTransformer(
    32, hidden_layer_sizes=(), loss="binary_crossentropy", random_state=0
)
ReconstructionDisplay.from_estimator(
    textbook.fit(X_train), X_test, image_shape=(8, 8), cmap="gray_r"
)
plt.show()

# %%
# Half as many numbers as pixels is a comfortable code. How much do the losses keep of
# the held-out pictures there, and how much where the code is tight?


def variance_kept(rebuilt):
    spread = np.square(X_test - X_train.mean(axis=0)).sum()
    return 1 - np.square(X_test - rebuilt).sum() / spread


kept, rebuilt = {}, {"original": X_test}
for k in (32, 8):
    common = {"hidden_layer_sizes": (256, 128), "random_state": 0}
    models = {
        "PCA": PCA(k),
        "squared error": AutoencoderTransformer(k, **common),
        "cross-entropy": AutoencoderTransformer(
            k, loss="binary_crossentropy", **common
        ),
    }
    for name, model in models.items():
        codes = model.fit(X_train).transform(X_test)
        rebuilt[name] = model.inverse_transform(codes)
        kept[name, k] = variance_kept(rebuilt[name])
        print(f"{k:2} components, {name:13} keeps {kept[name, k]:.3f}")

# %%
# With 32 numbers there is little left to gain, and squared error, by which the share
# above is measured, is ahead. With 8, cross-entropy is ahead even by the other's
# measure: the sigmoid knows that pixels end at 0 and at 1, and spends nothing on ink
# beyond black. So the textbook's loss is right where the code is short. The pictures
# below are those of 8 numbers.
figure, axes = plt.subplots(4, 10, figsize=(9, 4), layout="constrained")
for row, (name, pictures) in zip(axes, rebuilt.items(), strict=True):
    for ax, picture in zip(row, pictures, strict=False):
        ax.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()

assert kept["squared error", 32] > kept["cross-entropy", 32]
assert kept["cross-entropy", 8] > kept["squared error", 8] > kept["PCA", 8]
