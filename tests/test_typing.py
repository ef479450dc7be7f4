"""What a type checker says of a user's script."""

import importlib.util
import subprocess
import sys

import pytest

SCRIPT = """
from collections.abc import Sequence

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.inspection import LossCurveDisplay
from sklearn_unsup.metrics import shape_score, synthesis_report
from sklearn_unsup.pipeline import sample_pipeline


def best_width(widths: Sequence[int]) -> int:
    table, truth = make_mixed_table(500, random_state=0)
    scores: dict[int, float] = {}
    for width in widths:
        model = AutoencoderTransformer(2, hidden_layer_sizes=(width,))
        scores[width] = model.fit(table).score(table)
    return max(scores, key=lambda width: scores[width])


def more_rows(n_samples: int) -> float:
    table, truth = make_mixed_table(500, random_state=0)
    reveal_type(truth)
    model = VAETransformer(random_state=0).fit(table).partial_fit(table)
    reveal_type(model)
    rows = model.sample(n_samples, conditions={"plan": "pro"})
    reveal_type(rows)
    print(rows.groupby("plan").size())
    reveal_type(AutoencoderTransformer().fit(table).score_samples(table))
    reveal_type(model.transform(table).shape)
    reveal_type(synthesis_report(table, rows))
    reveal_type(LossCurveDisplay.from_estimator(GANSampler().fit(table)).plot())
    return shape_score(table, rows)


wrong: str = more_rows(10)
print(best_width(32))
"""
REVEALED = [
    "sklearn_unsup.datasets.MixedTableTruth",
    "sklearn_unsup._vae.VAETransformer",
    "Any",
    "numpy.ndarray",
    "Any",
    "sklearn_unsup.metrics._report.SynthesisReport",
    "sklearn_unsup.inspection._loss_curve.LossCurveDisplay",
]
# Of these mypy follows no import: torch alone would take a minute.
SETTINGS = """
[mypy]
strict = True
[mypy-sklearn.*,scipy.*,pandas.*,skorch.*,imblearn.*,joblib.*,threadpoolctl.*,tqdm.*]
ignore_missing_imports = True
follow_imports = skip
[mypy-torch.*]
follow_imports = skip
"""


@pytest.mark.slow
def test_mypy(tmp_path):
    """It knows what methods return, and finds the two mistakes at the script's end."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("needs the extra test")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(SETTINGS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir=cache", "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    revealed = [line.split('"')[1] for line in lines if "Revealed type" in line]
    errors = [line for line in lines if ": error: " in line]
    assert len(revealed) == len(REVEALED), done.stdout + done.stderr
    for found, expected in zip(revealed, REVEALED, strict=True):
        assert found.startswith(expected), done.stdout
    assert len(errors) == 2, done.stdout
    assert "[assignment]" in errors[0]
    assert "[arg-type]" in errors[1]
