"""Tags of a sampler, as imbalanced-learn's checks ask for them.

They are written out here, so that rows can be augmented where that library is not
installed: it reads the tags of any estimator that has `fit_resample`.
"""

from dataclasses import dataclass, field, fields

from sklearn.utils import InputTags, Tags


@dataclass(slots=True)
class TableInputTags(InputTags):
    """Tags of X, of which a DataFrame is one form."""

    dataframe: bool = True


@dataclass(slots=True)
class IndexTags:
    """Whether the sampler keeps `sample_indices_`: the places of rows in X."""

    sample_indices: bool = False


@dataclass(slots=True)
class SamplerTags(Tags):
    """Tags of an estimator with `fit_resample`."""

    sampler_tags: IndexTags = field(default_factory=IndexTags)


def as_sampler_tags(tags) -> SamplerTags:
    """Tags of an estimator, completed by those of a sampler of tables."""
    values = values_of(tags)
    values["estimator_type"] = "sampler"
    values["input_tags"] = TableInputTags(**values_of(tags.input_tags))
    return SamplerTags(**values)


def values_of(tags):
    return {field.name: getattr(tags, field.name) for field in fields(tags)}
