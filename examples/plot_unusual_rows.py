"""
Which rows are unusual?
=======================

``score_samples`` says in nats how well the model explains a row; the rows with the
lowest scores are the unusual ones. The rows to be found here have nothing unusual in
any single column, only in how the columns go together.
"""

# %%
# 569 tumours with 30 measurements. Half of the held-out rows get 15 of theirs from
# another held-out row.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import RocCurveDisplay, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unsup import AutoencoderTransformer, VAETransformer
from sklearn_unsup.inspection import ReasonsDisplay
from sklearn_unsup.outliers import GenerativeOutlierDetector

X_train, X_test = train_test_split(
    load_breast_cancer().data, test_size=0.4, random_state=0
)
rng = np.random.default_rng(0)
odd = rng.permutation(len(X_test))[: len(X_test) // 2]
columns = rng.permutation(30)[:15]
X_mixed = X_test.copy()
X_mixed[np.ix_(odd, columns)] = X_test[np.ix_(np.roll(odd, 1), columns)]
is_odd = np.isin(np.arange(len(X_test)), odd)

# %%
# All five have ``score_samples`` with the same meaning: higher is more usual. The
# variational autoencoder is told to spend its whole training on its codes; by default
# it also trains a second net that draws rows, and takes fewer steps on a small table.
# The detector asks a small autoencoder and two searches for neighbours.
models = {
    "IsolationForest": IsolationForest(random_state=0),
    "PCA": make_pipeline(StandardScaler(), PCA(8)),
    "AutoencoderTransformer": AutoencoderTransformer(8, random_state=0),
    "VAETransformer": VAETransformer(8, sampling="latent", random_state=0),
    "GenerativeOutlierDetector": GenerativeOutlierDetector(random_state=0),
}
figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
areas = {}
for name, model in models.items():
    unusual = -model.fit(X_train).score_samples(X_mixed)
    areas[name] = roc_auc_score(is_odd, unusual)
    RocCurveDisplay.from_predictions(is_odd, unusual, name=name, ax=ax)
    print(f"{name:25} {areas[name]:.3f}")
ax.set(xlabel="share of the usual rows flagged", ylabel="share of the odd rows found")
plt.show()

# %%
# A forest splits one column at a time and finds few. PCA sees how columns go together,
# if only in straight lines, and finds most; the two autoencoders find more.
assert areas["AutoencoderTransformer"] > areas["IsolationForest"] + 0.1
assert areas["VAETransformer"] > areas["PCA"] > areas["IsolationForest"] + 0.1

# %%
# Which measurements are to blame? ``explain_samples`` gives each cell its share of the
# score, and what was expected in its place. Here the cells of the two most unusual rows
# that cost most; the columns that were exchanged are numbered.
model = models["AutoencoderTransformer"]
print("exchanged:", *sorted(columns))
ReasonsDisplay.from_estimator(model, X_mixed, n_rows=2)
plt.show()
