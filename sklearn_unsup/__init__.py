"""Deep unsupervised learning for tables, inside scikit-learn."""

from ._autoencoder import AutoencoderTransformer
from ._gan import GANSampler
from ._vae import VAETransformer

__version__ = "0.1.0"

__all__ = ["AutoencoderTransformer", "GANSampler", "VAETransformer"]
