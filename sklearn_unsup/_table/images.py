"""Numeric columns that are the pixels of an image."""

import math
import numbers
from collections.abc import Sequence

import numpy as np

from .numeric import NumericColumn


def full_image_shape(image_shape) -> tuple[int, int, int]:
    """Channels, height and width, of a shape that may leave out a single channel.

    Raises
    ------
    ValueError
        If it is no shape of an image.
    """
    sizes = tuple(image_shape) if np.iterable(image_shape) else ()
    are_sizes = all(isinstance(n, numbers.Integral) and n > 0 for n in sizes)
    if len(sizes) not in (2, 3) or not are_sizes:
        raise ValueError(
            "image_shape must be (height, width) or (channels, height, width), ints "
            f"of at least 1 such as (28, 28) or (3, 32, 32), got {image_shape!r}."
        )
    sizes = tuple(map(int, sizes))
    return sizes if len(sizes) == 3 else (1, *sizes)


def refuse_no_pixels(columns: Sequence[NumericColumn], image_shape) -> None:
    """Raise ValueError for numeric columns that cannot be the pixels of an image."""
    n_pixels = math.prod(image_shape)
    if len(columns) != n_pixels:
        raise ValueError(
            f"image_shape={image_shape!r} has {n_pixels} pixels, but X has "
            f"{len(columns)} numeric columns, which must be as many. Pass the shape of "
            "the images, channels first, and mark columns that are no pixels as "
            "categories (by a category dtype or categorical_features)."
        )
    for column in columns:
        if column.has_missing_:
            raise ValueError(
                f"column {column.name!r} has missing values, but with image_shape all "
                "numeric columns are pixels, which need a value in every row: impute "
                "them, or drop the rows."
            )
        if column.dtype_.kind in "mM":
            raise ValueError(
                f"column {column.name!r} holds dates or durations, but with "
                "image_shape all numeric columns are pixels: drop it, or make it a "
                "category."
            )


def share_scale(columns: Sequence[NumericColumn], scaling: str | None) -> None:
    """Give all pixels one scale: a scale for each would change the image's contrasts.

    Those in [0, 1] are left as they are by "minmax". "quantile" has no scale that could
    be shared.
    """
    columns = [column for column in columns if column.varies_]
    if not columns or scaling not in ("minmax", "standard"):
        return
    if scaling == "minmax":
        center = min(float(column.low_) for column in columns)
        high = max(float(column.high_) for column in columns)
        is_unit_interval = center >= 0 and high <= 1
        center, scale = (0.0, 1.0) if is_unit_interval else (center, high - center)
    else:
        means = np.array([column.center_ for column in columns])
        variances = np.array([column.scale_ for column in columns]) ** 2
        center = float(means.mean())
        scale = float(np.sqrt(variances.mean() + means.var()))
    for column in columns:
        column.center_, column.scale_ = center, scale
