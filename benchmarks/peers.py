"""Other packages beside ours on the same rows: seconds, memory and what they are worth.

    OMP_NUM_THREADS=1 python benchmarks/peers.py [--table file.parquet] [--repeats 3]
    python benchmarks/peers.py --only VAETransformer "VAE (pyod)" --kinds reducers

A peer that is not installed is left out: none is a dependency of this package, and each
is used as its documentation shows, with its defaults. Every fit has a process of its
own, on one thread. Generators learn 80 % of a table and draw as many rows; scores are
those of `sklearn_unsup.metrics` (c2st is best at .5, dcr_excess at 0). Reducers take
the bundled digits to 16 numbers; explained variance, of held-out rows, only where there
is a way back, and 1-NN accuracy. PyOD divides by the standard deviation of pixels that
are constant in training: one stray grey then outweighs all the others. Memory is the
peak above that of the imported libraries and the data.
"""

import argparse
import json
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from _memory import PeakMemory, in_own_process

N_COMPONENTS = 16

# ----------------------------------------------------------------------- generators
# Each takes (table, seed) and returns a function of the number of rows.


def objects(table):
    """Levels as plain strings, as CTGAN asks for them, and the names of the columns."""
    discrete = [c for c in table if not pd.api.types.is_numeric_dtype(table[c])]
    return table.astype(dict.fromkeys(discrete, str)), discrete


def ctgan(table, seed):
    from ctgan import CTGAN as Model

    return _fit_ctgan(Model, table, seed)


def tvae(table, seed):
    from ctgan import TVAE as Model

    return _fit_ctgan(Model, table, seed)


def _fit_ctgan(model_class, table, seed):
    model = model_class(epochs=300)
    model.set_random_state(seed)
    model.fit(*objects(table))
    return model.sample


def our_vae(table, seed):
    from sklearn_unsup import VAETransformer

    return VAETransformer(random_state=seed).fit(table).sample


def our_gan(table, seed):
    from sklearn_unsup import GANSampler

    return GANSampler(random_state=seed).fit(table).sample


GENERATORS = {  # name: (module that must be there, function)
    "VAETransformer": ("sklearn_unsup", our_vae),
    "GANSampler": ("sklearn_unsup", our_gan),
    "TVAE (ctgan)": ("ctgan", tvae),
    "CTGAN (ctgan)": ("ctgan", ctgan),
}

# ------------------------------------------------------------------------- reducers
# Each takes (X, seed) and returns a function to codes and one back, or None.


def our_autoencoder(X, seed):
    from sklearn_unsup import AutoencoderTransformer

    model = AutoencoderTransformer(N_COMPONENTS, random_state=seed).fit(X)
    return model.transform, model.inverse_transform


def our_vae_codes(X, seed):
    from sklearn_unsup import VAETransformer

    model = VAETransformer(N_COMPONENTS, random_state=seed).fit(X)
    return model.transform, model.inverse_transform


def pca(X, seed):
    from sklearn.decomposition import PCA

    model = PCA(N_COMPONENTS, random_state=seed).fit(X)
    return model.transform, model.inverse_transform


def mlp_regressor(X, seed):
    """X to X through a narrow layer, whose activations are read off by hand."""
    from sklearn.neural_network import MLPRegressor

    mlp = MLPRegressor(hidden_layer_sizes=(N_COMPONENTS,), random_state=seed).fit(X, X)

    def codes(X):
        return np.maximum(X @ mlp.coefs_[0] + mlp.intercepts_[0], 0)

    return codes, lambda Z: Z @ mlp.coefs_[1] + mlp.intercepts_[1]


def umap(X, seed):
    from umap import UMAP

    return UMAP(n_components=N_COMPONENTS, random_state=seed).fit(X).transform, None


def pyod_autoencoder(X, seed):
    """Scores rows; the codes have no method and are read off its network."""
    from pyod.models.auto_encoder import AutoEncoder

    form = {"hidden_neuron_list": [64, N_COMPONENTS], "verbose": 0}
    model = AutoEncoder(random_state=seed, **form).fit(X)
    return _ways_of_pyod(model, model.model.encoder)


def pyod_vae(X, seed):
    """The same; by default, a capacity of 0, the divergence is left out of its loss."""
    from pyod.models.vae import VAE

    model = VAE(latent_dim=N_COMPONENTS, random_state=seed, verbose=0).fit(X)
    return _ways_of_pyod(model, lambda rows: model.model.encode(rows)[0])


def _ways_of_pyod(model, encoder):
    import torch

    model.model.eval()

    def through(part, rows):
        with torch.inference_mode():
            return part(torch.as_tensor(np.asarray(rows), dtype=torch.float32)).numpy()

    def codes(X):
        return through(encoder, (X - model.X_mean) / (model.X_std + 1e-8))

    def back(Z):
        return through(model.model.decoder, Z) * (model.X_std + 1e-8) + model.X_mean

    return codes, back


def pythae_autoencoder(X, seed):
    """Tensors only; it writes checkpoints to a folder, asked or not."""
    import logging
    import tempfile

    import torch
    from pythae.models import AE, AEConfig
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    torch.manual_seed(seed)
    logging.disable(logging.INFO)
    model = AE(AEConfig(input_dim=(X.shape[1],), latent_dim=N_COMPONENTS))
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(output_dir=folder, seed=seed, no_cuda=True)
        TrainingPipeline(model, config)(X)
    model.eval()

    @torch.inference_mode()
    def codes(X):
        return model.embed(torch.as_tensor(X)).numpy()

    @torch.inference_mode()
    def back(Z):
        return model.decoder(torch.as_tensor(Z))["reconstruction"].numpy()

    return codes, back


REDUCERS = {
    "AutoencoderTransformer": ("sklearn_unsup", our_autoencoder),
    "VAETransformer": ("sklearn_unsup", our_vae_codes),
    "PCA (scikit-learn)": ("sklearn", pca),
    "MLPRegressor (scikit-learn)": ("sklearn", mlp_regressor),
    "AutoEncoder (pyod)": ("pyod", pyod_autoencoder),
    "VAE (pyod)": ("pyod", pyod_vae),
    "AE (pythae)": ("pythae", pythae_autoencoder),
    "UMAP (umap-learn)": ("umap", umap),
}

# ---------------------------------------------------------------------- measurement


def load_table(path):
    """The table and its target."""
    if path is None:
        from sklearn_unsup.datasets import make_mixed_table

        # The others refuse missing numbers and dates, or read them as categories.
        table, _ = make_mixed_table(5_000, missing_rate=0, random_state=0)
        return table.drop(columns="joined").astype({"active": "category"}), "plan"
    table = pd.read_parquet(path).dropna().reset_index(drop=True)
    return table, table.columns[-1]


def measure_generator(name, path, seed):
    from sklearn.model_selection import train_test_split

    from sklearn_unsup.metrics import (
        c2st_score,
        closest_record_scores,
        shape_score,
        trend_score,
        utility_scores,
    )

    table, target = load_table(path)
    classes = None if pd.api.types.is_numeric_dtype(table[target]) else table[target]
    train, test = (
        part.reset_index(drop=True)
        for part in train_test_split(
            table, test_size=0.2, random_state=seed, stratify=classes
        )
    )
    module, fit = GENERATORS[name]
    __import__(module)
    start = time.perf_counter()
    with PeakMemory() as memory:
        sample = fit(train, seed)
        fitted = time.perf_counter()
        rows = sample(len(train))
    sampled = time.perf_counter()
    rows = rows.astype(train.dtypes)
    utility = utility_scores(train, test, rows, target, random_state=seed)
    return {
        "fit s": fitted - start,
        "sample s": sampled - fitted,
        "MiB": memory.mib,
        "shape": shape_score(train, rows),
        "trend": trend_score(train, rows),
        "c2st": c2st_score(train, rows, random_state=seed),
        "tstr": utility.tstr,
        "trtr": utility.trtr,
        "dcr_excess": closest_record_scores(train, test, rows).dcr_excess,
    }


def measure_reducer(name, path, seed):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neighbors import KNeighborsClassifier

    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    train, test, y_train, y_test = train_test_split(
        X, y, test_size=0.2, random_state=seed, stratify=y
    )
    module, fit = REDUCERS[name]
    __import__(module)
    start = time.perf_counter()
    with PeakMemory() as memory:
        encode, back = fit(train, seed)
    fitted = time.perf_counter()
    variance = np.nan
    if back is not None:
        left = np.square(test - back(encode(test))).sum()
        variance = float(1 - left / np.square(test - train.mean(0)).sum())
    nearest = KNeighborsClassifier(1).fit(encode(train), y_train)
    return {
        "fit s": fitted - start,
        "MiB": memory.mib,
        "expl.var": variance,
        "1-NN": nearest.score(encode(test), y_test),
    }


MEASURES = {
    "generators": (GENERATORS, measure_generator),
    "reducers": (REDUCERS, measure_reducer),
}


def run(args, kind, name, seed):
    table = ["--table", args.table] if args.table else []
    return in_own_process(__file__, "--one", kind, name, seed, *table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--table", help="parquet file; default: a generated table")
    parser.add_argument("--repeats", type=int, default=3, help="seeds; default: 3")
    parser.add_argument("--kinds", nargs="+", default=list(MEASURES), choices=MEASURES)
    names = dict.fromkeys([*GENERATORS, *REDUCERS])
    parser.add_argument(
        "--only",
        nargs="+",
        default=names,
        choices=names,
        metavar="NAME",
        help=f"of {', '.join(names)}",
    )
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        import torch

        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        kind, name, seed = args.one
        print(json.dumps(MEASURES[kind][1](name, args.table, int(seed))))
        return
    for kind in args.kinds:
        peers = {k: peer for k, peer in MEASURES[kind][0].items() if k in args.only}
        if not peers:
            continue
        title = Path(args.table).stem if args.table and kind == "generators" else ""
        print(f"\n{kind} {title}: medians of {args.repeats} seeds")
        header = None
        for name, (module, _) in peers.items():
            if find_spec(module) is None:
                print(f"{name:28} not installed")
                continue
            runs = [run(args, kind, name, seed) for seed in range(args.repeats)]
            if header is None:
                header = list(runs[0])
                print(f"{'':28}" + "".join(f"{column:>11}" for column in header))
            medians = np.median([[r[c] for c in header] for r in runs], axis=0)
            print(f"{name:28}" + "".join(f"{m:11.3f}" for m in medians), flush=True)


if __name__ == "__main__":
    main()
