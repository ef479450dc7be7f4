"""Random generators that differ between the worker processes that share a model."""

import multiprocessing
import os
import secrets

import numpy as np

_this_process = {"token": secrets.token_hex(8), "is_forked": False}


def _note_fork():
    _this_process.update(token=secrets.token_hex(8), is_forked=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def process_token() -> str:
    """Random name of this process, which differs even between machines."""
    return _this_process["token"]


def is_worker() -> bool:
    """Whether another Python process started this one to share work with it.

    This is so after a fork, and in a process of `multiprocessing`, joblib or Dask.
    """
    return _this_process["is_forked"] or multiprocessing.parent_process() is not None


def rng_for_process(rng, token):
    """Generator to draw from in this process, and the token to store with it.

    A generator that a worker inherited by a fork or got in a pickle would draw the same
    numbers in every worker, so that each worker starts one of its own. A program that
    is no worker continues the generator of a model that it has loaded.

    Parameters
    ----------
    rng : numpy.random.Generator
    token : str or None
        Token of the process that made `rng`.
    """
    if token == process_token() or not is_worker():
        return rng, token
    return np.random.default_rng(), process_token()
