"""Deep unsupervised learning for tables, inside scikit-learn."""

from ._autoencoder import AutoencoderTransformer
from ._gan import GANSampler
from ._vae import VAETransformer
from ._version import __version__  # noqa: F401  (no name of the API page)

__all__ = ["AutoencoderTransformer", "GANSampler", "VAETransformer"]
