"""Nothing meets what is on the other side: models on a GPU that is pretended.

Not run where there is a GPU: there `test_gpu` says more.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

PREAMBLE = """
import pickle
import warnings

import numpy as np
from pretend_gpu import GPUTensor, install

install()
from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup import _row_fitting
from sklearn_unsup.constraints import Inequality
from sklearn_unsup.datasets import make_mixed_table

warnings.simplefilter("ignore")  # of few steps
X, _ = make_mixed_table(200, random_state=0)
X = X.assign(many=[f"l{i % 40}" for i in range(len(X))])
X = X.assign(low=X["height"] - np.arange(len(X)) % 7)
few = X.head(20).copy()
few.loc[:4, "weight"] = np.nan
few.loc[3:8, "plan"] = None


def make(cls, max_iter=1, **parameters):
    return cls(4, max_iter=max_iter, device="cuda", random_state=0, **parameters)


def use(model, X=X, few=few):
    assert all(isinstance(p, GPUTensor) for p in model.net_.module_.parameters())
    model.inverse_transform(model.transform(few))
    model.sample(20, conditions={"plan": "pro", "height": (165, 180)})
    model.sample(conditions=X[["plan", "height"]].head(9))
    model.score(X)
    pickle.loads(pickle.dumps(model)).sample(5)
    if not isinstance(model, GANSampler):
        model.explain_samples(few, return_expected=True)
        model.traverse(0)
        model.encoder_importances(few)
    if isinstance(model, VAETransformer):
        model.impute(few)
        model.impute(few, sample_posterior=True)
        model.evidence_lower_bound(few)
    model.partial_fit(X).sample(5)
"""
CASES = {
    "autoencoder": "use(make(AutoencoderTransformer).fit(X))",
    "trial": "use(make(AutoencoderTransformer, 'auto').fit(X))",
    "gan": "use(make(GANSampler).fit(X))",
    "latent": "use(make(VAETransformer, sampling='latent').fit(X))",
    "any order": "use(make(VAETransformer, sampling='any_order').fit(X))",
    "wide": (
        "_row_fitting.MIN_HOLD_OUT_ROWS = _row_fitting.MANY_ROWS = 100\n"
        "use(make(VAETransformer, 'auto').fit(X))\n"
        "assert model.net_.module__autoregressive_width == 128"
    ).replace("use(", "use(model := "),
    "constraints": (
        "for sampling in 'auto', 'any_order':\n"
        "    use(make(VAETransformer, sampling=sampling,"
        " constraints=[Inequality('low', 'height')]).fit(X))"
    ),
    "start": (
        "Y = X.drop(columns='visits').assign(many=X['many'].replace('l1', 'l2'))\n"
        "for sampling in 'auto', 'any_order':\n"
        "    for device in 'cpu', 'cuda':\n"
        "        source = make(VAETransformer, sampling=sampling)\n"
        "        source.set_params(device=device).fit(X)\n"
        "        Z = Y[Y['many'] < 'l3'] if device == 'cpu' else Y\n"
        "        model = make(VAETransformer, sampling=sampling)\n"
        "        use(model.fit(Z, start_from=source), Z, Z.head(20))"
    ),
    "images": (
        "digits = np.random.default_rng(0).uniform(size=(40, 64))\n"
        "for cls in AutoencoderTransformer, VAETransformer, GANSampler:\n"
        "    model = make(cls, image_shape=(8, 8)).fit(digits)\n"
        "    model.inverse_transform(model.transform(model.sample(5)))"
    ),
    "sparse": (
        "from scipy.sparse import random_array\n"
        "rows = random_array((60, 30), density=0.1, format='csr', rng=0)\n"
        "for cls in AutoencoderTransformer, VAETransformer:\n"
        "    model = make(cls).fit(rows)\n"
        "    model.inverse_transform(model.transform(rows))\n"
        "    model.sample(5)"
    ),
}


on_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@on_no_gpu
@pytest.mark.parametrize("name", CASES)
def test_all_is_on_its_side(name):
    done = run(PREAMBLE + CASES[name])
    assert done.returncode == 0, done.stderr


REFUSALS = """
import torch

for code, message in (
    ("torch.ones(2, device='cuda') @ torch.ones(2)", "a tensor of the CPU"),
    ("torch.rand(2, generator=torch.Generator('cuda'))", "the other side"),
    ("torch.rand(2, generator=torch.Generator(), device='cuda')", "the other side"),
    ("torch.ones(2, device='cuda').numpy()", "call cpu"),
):
    try:
        eval(code)
    except (AssertionError, TypeError) as error:
        assert message in str(error), error
    else:
        raise AssertionError(code)
"""


@on_no_gpu
@pytest.mark.slow
def test_the_pretended_gpu_refuses_what_a_real_one_does():
    done = run("from pretend_gpu import install\ninstall()\n" + REFUSALS)
    assert done.returncode == 0, done.stderr
