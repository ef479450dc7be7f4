"""Columns that are the pixels of images."""

import numpy as np
import pandas as pd
import pytest

from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.images import full_image_shape


def greys(n=40, n_pixels=6, scale=255, seed=0):
    X = np.random.default_rng(seed).integers(0, scale + 1, (n, n_pixels))
    X[:, 1] = 0  # A constant corner.
    X[:, 2] //= 8  # A dark pixel.
    X[:2, 0] = 0, scale
    return X


def test_shapes():
    assert full_image_shape((2, 3)) == (1, 2, 3)
    assert full_image_shape([3, 2, 3]) == (3, 2, 3)
    assert full_image_shape(np.array([2, 3])) == (1, 2, 3)


@pytest.mark.parametrize("shape", [(), (4,), 4, (2, 0), (2.0, 3), (1, 1, 2, 3), "ab"])
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"image_shape must be .* got "):
        full_image_shape(shape)


def test_pixels_share_a_scale():
    X = greys()
    codec = TableCodec("minmax", image_shape=(1, 2, 3)).fit(X)
    x_num, _ = codec.encode(X)
    np.testing.assert_allclose(x_num, np.delete(X, 1, axis=1) / 255, rtol=1e-6)
    assert codec.layout_.pixels == (0, 2, 3, 4, 5)
    np.testing.assert_array_equal(codec.decode(*codec.encode(X)), X)


def test_standard_pixels_have_mean_0_and_variance_1_together():
    X = np.delete(greys(), 1, axis=1)
    codec = TableCodec("standard", image_shape=(1, 1, 5)).fit(X)
    x_num, _ = codec.encode(X)
    np.testing.assert_allclose(x_num, (X - X.mean()) / X.std(), atol=1e-5)


def test_pixels_in_the_unit_interval_stay_as_they_are():
    X = greys().astype(np.float32) / 500
    codec = TableCodec("minmax", image_shape=(1, 2, 3)).fit(X)
    np.testing.assert_array_equal(codec.encode(X)[0], np.delete(X, 1, axis=1))


def test_labels_may_stand_anywhere():
    X = greys()
    table = pd.DataFrame(X, columns=list("abcdef"))
    table.insert(3, "label", pd.Categorical(X[:, 0] % 3))
    codec = TableCodec("minmax", image_shape=(1, 2, 3)).fit(table)
    assert codec.layout_.pixels == (0, 2, 3, 4, 5)
    assert codec.layout_.cardinalities == (3,)
    pd.testing.assert_frame_equal(codec.decode(*codec.encode(table)), table)


def test_images_that_do_not_vary():
    codec = TableCodec("minmax", image_shape=(1, 2, 3)).fit(np.ones((4, 6)))
    assert codec.layout_.n_numeric == len(codec.layout_.pixels) == 1


def test_columns_that_are_no_pixels_are_refused():
    X = pd.DataFrame(greys()).astype(float)
    codec = TableCodec("minmax", image_shape=(1, 2, 3))
    with pytest.raises(ValueError, match="has 6 pixels, but X has 5 numeric columns"):
        codec.fit(X.iloc[:, :5])
    holes = X.copy()
    holes.iloc[3, 4] = np.nan
    with pytest.raises(ValueError, match="column 4 has missing values"):
        codec.fit(holes)
    dates = X.copy()
    dates[5] = pd.date_range("2020", periods=40)
    with pytest.raises(ValueError, match="column 5 holds dates"):
        codec.fit(dates)
