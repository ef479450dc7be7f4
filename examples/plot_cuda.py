"""
Does the same pipeline run on a GPU?
====================================

Yes, without a change: ``device="auto"`` takes CUDA where there is one, and the CPU
where there is none. The output below says which it was when this page was made.
"""

# %%
# A mixed table of 20,000 rows, one pipeline for every device.
import pickle
import time

import matplotlib.pyplot as plt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_unsup import AutoencoderTransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.inspection import LatentSpaceDisplay

table, _ = make_mixed_table(20_000, random_state=0)
X, y = table.drop(columns="active"), table["active"]


def fit_on(device):
    reducer = AutoencoderTransformer(
        2, hidden_layer_sizes=(256, 128), max_iter=20, device=device, random_state=0
    )
    start = time.perf_counter()
    model = make_pipeline(reducer, LogisticRegression()).fit(X, y)
    seconds = time.perf_counter() - start
    print(f'device="{device}" ran on {model[0].device_}: {seconds:.1f} s', end=", ")
    print(f"accuracy {model.score(X, y):.3f}")
    return model


# %%
# ``device`` is what was asked for, ``device_`` what was taken. Where there is a GPU the
# CPU gets its turn too. The nets are small, so that a GPU needs its training steps
# recorded as CUDA graphs, which ``fit`` does by itself: a recorded step is launched
# whole, not kernel by kernel. Where recording fails a warning says so, and the fit goes
# on without; ``SKLEARN_UNSUP_CUDA_GRAPHS=0`` in the environment turns it off.
model = fit_on("auto")
assert model[0].device_ == ("cuda" if torch.cuda.is_available() else "cpu")
if model[0].device_ == "cuda":
    on_cpu = fit_on("cpu")
    assert abs(on_cpu.score(X, y) - model.score(X, y)) < 0.02

# %%
# A saved model opens anywhere. One that was fitted on CUDA comes back on the CPU where
# there is no GPU; skorch then says so in a warning. Here it is saved, loaded, and asked
# for the codes of rows that it has not seen.
loaded = pickle.loads(pickle.dumps(model))
fresh, _ = make_mixed_table(2_000, random_state=100)
LatentSpaceDisplay.from_estimator(loaded[:-1], fresh[X.columns], fresh["plan"])
plt.show()

assert (loaded.predict(X) == model.predict(X)).mean() > 0.99
assert loaded.score(fresh[X.columns], fresh["active"]) > y.mean() + 0.05
