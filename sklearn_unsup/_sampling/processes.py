"""Which process this is: a fitted model draws other rows in each worker."""

import multiprocessing
import os
import secrets

import numpy as np

_here = {"token": secrets.token_hex(8), "forked": False}


def _enter_fork():
    _here.update(token=secrets.token_hex(8), forked=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_enter_fork)


def process_token() -> str:
    """What no other process has, also if it has the same number on another machine."""
    return _here["token"]


def is_worker() -> bool:
    """Whether another Python process started this one to share its work with.

    By a fork, or by `multiprocessing` as joblib and Dask do it.
    """
    return _here["forked"] or multiprocessing.parent_process() is not None


def stream_of_process(rng, home):
    """The generator that draws here, and the token that it belongs to from now on.

    A stream that came into a worker from outside, inherited by a fork or in a pickle,
    would repeat in every worker: each begins a stream of its own. In a program that
    loads a model it goes on as it would have where it was saved.

    Parameters
    ----------
    rng : numpy.random.Generator
    home : str or None
        Token of the process in which `rng` was last made.
    """
    if home == process_token() or not is_worker():
        return rng, home
    return np.random.default_rng(), process_token()
