"""
Sparse text: an autoencoder beside TruncatedSVD
===============================================

TF-IDF turns documents into rows of some thousand columns, nearly all of them zero.
`TruncatedSVD` is the usual way to make such rows short. The autoencoder takes the same
sparse matrix; this page asks what its codes are worth.
"""

# %%
# The documents are at hand: the docstrings of all public functions and classes of
# SciPy and scikit-learn, without their examples. The label of each is the module that
# it comes from.
import importlib
import inspect
import pkgutil
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import scipy
import sklearn
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unsup import AutoencoderTransformer


def docstrings(package):
    """Pairs of a docstring and the module that it is from."""
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_") or info.name in ("conftest", "experimental"):
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for name in getattr(module, "__all__", ()):
            item = vars(module).get(name)
            if inspect.isclass(item) or inspect.isroutine(item):
                text, _, _ = (inspect.getdoc(item) or "").partition("\nExamples\n")
                if len(text) > 200:
                    yield text, module.__name__


found = dict([*docstrings(scipy), *docstrings(sklearn)])  # no text comes twice
n_of = Counter(found.values())
texts = [text for text, module in found.items() if n_of[module] >= 25]
modules = [found[text] for text in texts]
train, test, y_train, y_test = train_test_split(
    texts, modules, test_size=0.3, stratify=modules, random_state=0
)
words = TfidfVectorizer(min_df=2, stop_words="english", sublinear_tf=True)
X_train, X_test = words.fit_transform(train), words.transform(test)
print(f"{len(train)} + {len(test)} documents of {len(set(modules))} modules")
print(f"{X_train.shape[1]} words, {X_train.nnz / np.prod(X_train.shape):.1%} non-zero")

# %%
# Four sizes of the code. The autoencoder makes rows dense a batch at a time, never all
# of them. A narrow hidden layer is enough for so few documents.
sizes = [2, 4, 8, 16]
models = {
    "TruncatedSVD": lambda k: TruncatedSVD(k, random_state=0),
    "autoencoder": lambda k: AutoencoderTransformer(
        k, hidden_layer_sizes=(64,), max_iter=40, random_state=0
    ),
}
dense = X_test.toarray()
spread = np.square(dense - X_train.mean(axis=0)).sum()
kept, nearest, linear = ({name: [] for name in models} for _ in range(3))
for name, make in models.items():
    for k in sizes:
        model = make(k)
        codes, held_out = model.fit_transform(X_train), model.transform(X_test)
        rebuilt = model.inverse_transform(held_out)
        kept[name].append(1 - np.square(dense - rebuilt).sum() / spread)
        neighbour = KNeighborsClassifier(1).fit(codes, y_train)
        nearest[name].append(neighbour.score(held_out, y_test))
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        linear[name].append(classifier.fit(codes, y_train).score(held_out, y_test))

measures = {
    "variance of held-out rows kept": kept,
    "module named by the nearest neighbour": nearest,
    "module named by logistic regression": linear,
}
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
for ax, (title, measure) in zip(axes, measures.items(), strict=True):
    for name, values in measure.items():
        ax.plot(sizes, values, "o-", label=name)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, sizes)
    ax.set(title=title, xlabel="components", ylim=(0, None))
axes[0].legend()
plt.show()

for title, measure in measures.items():
    print(title)
    for name, values in measure.items():
        print(f"  {name:13}", *(f"{value:6.3f}" for value in values))

# %%
# The shorter the code, the more the autoencoder gains. With 16 numbers the neighbours
# of both are of about the same use, and TruncatedSVD takes a fraction of a second: take
# the autoencoder where the code must be short, or where rows are to be rebuilt.
#
# Rebuilt rows are sparse again, though in a dense array: a number nearer to zero than
# to any weight that the word ever had is zero. So they can be read.
rebuilt = model.inverse_transform(held_out)
for row in (0, 1, 2):
    strongest = rebuilt[row].argsort()[::-1][:6]
    print(f"{y_test[row]}:", ", ".join(words.get_feature_names_out()[strongest]))

for measure, margin in ((kept, 0.03), (nearest, 0.03), (linear, 0.02)):
    short = {name: np.array(values[1:3]) for name, values in measure.items()}
    assert np.all(short["autoencoder"] > short["TruncatedSVD"] + margin)
