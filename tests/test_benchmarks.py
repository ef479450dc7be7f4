"""Every script in benchmarks runs, at its smallest size."""

import os
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"
SMALLEST = {
    "anomalies": "--seeds 1 --tables 'wine 3' --models GenerativeOutlierDetector"
    " IsolationForest",
    "augmentation": "--data wine --sizes 20 --seeds 0 1 --learners tree --no-plain",
    "balancing": "--quick",
    "codec": "--rows 500 --repeats 1",
    "components": "--rows 200 --epochs 1 --tables iris",
    "conditions": "--rows 200 --epochs 1 --draws 20",
    "dependences": "--tables 11 --interaction-rows 100",
    "draws": "--rows 300 --epochs 1 --rounds 1 --draws 500",
    "engine": "--rounds 1 --epochs 1",
    "few_rows": "--parts reduce --tables iris --seeds 1",
    "floor": "--rounds 1 --steps 3 --rows 3000",
    "gpu": "--device cpu --rows 600 --batches 64 --steps 3 --quality-rows 200"
    " --quality-epochs 1",
    "images": "--rows 100 --components 2 --drawn 50 --models",
    "growth": "--rows 500 --at-columns 4 --columns 4 --at-rows 300"
    " --models codec AutoencoderTransformer",
    "learning_curve": "--laws shares --rows 40 --seeds 1",
    "parallel": "--rows 300 --epochs 1 --width 16 --batch 64 --rounds 1 --compared 1"
    " --models autoencoder",
    "peers": "--repeats 1 --kinds reducers --only AutoencoderTransformer"
    " 'UMAP (umap-learn)'",
    "precision": "--rounds 1 --rows 300",
    "privacy": "--rows 3000 --epsilon 30 50 --table-only",
    "reasons": "--tables wine",
    "score": "--seeds 1 --epochs 2",
    "search": "--rows 200 --epochs 1 --folds 2 --workers 1 --places n_jobs=1",
    "stream": "--rows 2000 --chunk 500 --memory-rows 500",
    "synthesis": "--rows 60 --seeds 1 --models VAETransformer",
    "transfer": "--sizes 40 60 --source-rows 100 --seeds 1 --max-iter 1",
    "transform": "--sizes 2",
}
NEEDS = {
    "augmentation": "imblearn",
    "parallel": "accelerate",
    "privacy": "dp_accounting",
    "search": "dask",
}


def run(name, options):
    """As a user would, but on one thread."""
    return subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *shlex.split(options)],
        cwd=FOLDER,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_script_is_left_out():
    scripts = {path.stem for path in FOLDER.glob("[!_]*.py")}
    assert scripts == set(SMALLEST)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs(name):
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}")
    done = run(name, SMALLEST[name])
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 1
    # gpu.py goes on after a cell that failed, and says so
    assert "  ! " not in done.stdout, done.stdout


@pytest.mark.slow
def test_without_a_gpu_its_benchmark_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = run("gpu", "")
    assert done.returncode == 2
    assert "No CUDA device here" in done.stderr
