"""Scores of levels: canonical variates, shrunk where rows are few."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from sklearn_unsup._nn.autoregressive import AutoregressiveModel
from sklearn_unsup._nn.level_scores import embed_levels, level_scores
from sklearn_unsup._table.layout import TableLayout


def groups(n_rows, n_levels=40, n_targets=5, spread=1.0, seed=0):
    """Targets that are correlated within levels, whose means lie in a plane."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(n_levels, 2, generator=generator) @ torch.randn(
        2, n_targets, generator=generator
    )
    mixing = torch.randn(n_targets, n_targets, generator=generator)
    mixing = torch.eye(n_targets) + 0.3 * mixing
    codes = torch.arange(n_rows) % n_levels
    noise = torch.randn(n_rows, n_targets, generator=generator) @ mixing
    return spread * means[codes] + noise, codes


def test_scores_of_many_rows_are_those_of_a_linear_discriminant_analysis():
    targets, codes = groups(20_000)
    scores = level_scores(targets, codes, 40, 5)
    # The means lie in a plane, and what is beyond is noise.
    assert (scores[:, 2:] == 0).all()
    known = LinearDiscriminantAnalysis(solver="eigen").fit(targets, codes)
    expected = known.transform(known.means_)[:, :2]
    expected -= expected.mean(0)  # All levels have as many rows.
    # The same plane: its axes may be turned where both are about as long.
    residuals = np.linalg.lstsq(scores[:, :2].numpy(), expected, rcond=None)[1]
    assert (residuals < 0.005 * (expected**2).sum(0)).all()


def test_the_variance_of_a_score_is_the_share_that_lies_between_levels():
    generator = torch.Generator().manual_seed(0)
    codes = torch.arange(30_000) % 50
    means = torch.randn(50, 1, generator=generator)
    means = (means - means.mean()) / means.std(correction=0)
    noise = 2.0 * torch.randn(30_000, 1, generator=generator)
    (score,) = level_scores(means[codes] + noise, codes, 50, 1).t()
    # Variances of 1 between levels, and of 4 within them.
    assert abs(float(score[codes].var()) - 0.2) < 0.01
    assert abs(float(score.mean())) < 1e-6


def test_noise_hardly_has_scores():
    for seed in range(5):
        targets, codes = groups(1_000, spread=0.0, seed=seed)
        assert float(level_scores(targets, codes, 40, 16).std(0).max()) < 0.1
        # Nor have levels of two rows each.
        rare = level_scores(targets, torch.arange(1_000) // 2, 500, 16)
        assert float(rare.std(0).max()) < 0.2


def test_a_rare_level_counts_less_than_a_frequent_one_with_the_same_mean():
    targets, codes = groups(4_000, spread=0.3)
    frequent = codes == 3
    mean = targets[frequent].mean(0)
    # A new level of two rows, which have the mean of the frequent one.
    targets = torch.cat([targets, mean.expand(2, -1)])
    codes = torch.cat([codes, torch.full((2,), 40)])
    scores = level_scores(targets, codes, 41, 2)
    share = float(scores[codes, 0].var(correction=0))
    between = share / (1 - share)
    # What is expected of a normal mean of that variance, of 2 and of 100 rows.
    expected = (between + 1 / 100) / (between + 1 / 2)
    assert expected < 0.9
    assert float(scores[40, 0] / scores[3, 0]) == pytest.approx(expected, abs=0.02)


def test_levels_without_rows_and_constant_targets_do_no_harm():
    targets, codes = groups(2_000)
    targets[:, 4] = 1.0
    scores = level_scores(targets, codes, 60, 4)
    assert scores.isfinite().all()
    assert (scores[:40, 0] != 0).all()
    for none in (targets[:, :0], targets[:, 4:]):
        assert (level_scores(none, codes, 60, 4) == 0).all()
    assert (level_scores(targets, torch.zeros_like(codes), 60, 4) == 0).all()
    assert (level_scores(targets, torch.arange(2_000), 2_000, 4) == 0).all()


def test_levels_are_described_by_the_columns_after_theirs():
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(3, (3_000,), generator=generator)
    many = torch.randint(50, (3_000,), generator=generator)
    x = torch.randn(3_000, 1, generator=generator) + many[:, None] % 2
    # The first column tells the level, but is drawn before it.
    x_cat = torch.stack([many % 3, many, first], 1)
    rows = AutoregressiveModel(TableLayout(1, (3, 50, 3)), width=4)
    assert rows.learns_embeddings
    embed_levels(rows, x, x_cat)
    assert not rows.learns_embeddings
    scores = rows.embeddings["1"].weight
    odd = torch.arange(50) % 2 == 1
    assert float(scores[odd, 0].mean() - scores[~odd, 0].mean()) ** 2 > 0.1
    assert (scores[:, 1:] == 0).all()
