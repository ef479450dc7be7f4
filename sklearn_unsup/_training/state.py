"""Atomic files: a checkpoint of several files is replaced as a whole or not at all.

skorch's `Checkpoint` saves a net as several files, by one call of `save_params` after
another, and is silent if one of them fails. Here the files are replaced together:

1. The new content of each file is written to a temporary file beside it, whose name
   ends with ``.part``.
2. A manifest with the digests of all files is replaced. From then on the new checkpoint
   is valid.
3. The temporary files are renamed to the final ones.

The process may die at any time. Before step 2 the files are those of the old manifest.
After it, each file of the new manifest is either in its final or in its temporary
place, and the next process that loads or saves renames it.
"""

import hashlib
import json
import os
from contextlib import contextmanager, suppress
from io import BytesIO

from skorch.callbacks import Checkpoint, TrainEndCheckpoint
from skorch.history import History

from .._warnings import warn_user


def temporary_path(path):
    """Path of the temporary file for the new content of a file."""
    return f"{path}.part"


def write_temporary(path, content):
    """Write the new content of a file to a temporary file, and flush it to the disk."""
    try:
        with open(temporary_path(path), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # The error of a full disk does not name the file.
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_temporary(paths):
    for path in paths:
        with suppress(OSError):
            os.unlink(temporary_path(path))


def replace_files(contents):
    """Replace files by new contents, a dict of bytes by path.

    An error while writing leaves all of them as they were.
    """
    try:
        for path, content in contents.items():
            write_temporary(path, content)
        for path in contents:
            os.replace(temporary_path(path), path)
    except BaseException:
        remove_temporary(contents)
        raise


def sync_directory(directory):
    """Flush the names in a directory to the disk, on systems that support it."""
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def manifest_path(paths):
    """Path of the manifest of a checkpoint, given its paths by skorch's names.

    It is beside the history, which all checkpoints of a run share, or else beside the
    parameters.
    """
    first = (
        paths.get("f_history") or paths.get("f_params") or next(iter(paths.values()))
    )
    return f"{os.fspath(first)}.manifest"


def file_digest(path):
    """SHA-256 digest of the content of a file; None if there is no such file."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def read_manifest(manifest):
    """Digests of a manifest by path; empty if there is no manifest."""
    try:
        with open(manifest, encoding="utf-8") as file:
            digests = json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(
            f"{manifest} is damaged: it should list the files of a checkpoint. Remove "
            "it and those files to begin anew."
        ) from error
    # Paths in a manifest are relative to its directory, which users may move.
    directory = os.path.dirname(manifest)
    return {os.path.join(directory, name): d for name, d in digests.items()}


def finish_moves(manifest):
    """Finish the renames of a process that died after it had replaced the manifest."""
    for path, digest in read_manifest(manifest).items():
        found = file_digest(temporary_path(path))
        if found == digest:
            # Another process that loads may have renamed it already.
            with suppress(FileNotFoundError):
                os.replace(temporary_path(path), path)
        elif found is not None:  # A later checkpoint was not completed.
            remove_temporary([path])
    remove_temporary([manifest])


def replace_checkpoint(contents):
    """Replace the files of a checkpoint, a dict of (path, bytes) by skorch's names.

    An error leaves the previous checkpoint as it was.
    """
    paths = {name: os.fspath(path) for name, (path, _) in contents.items()}
    manifest = manifest_path(paths)
    directory = os.path.dirname(manifest)
    finish_moves(manifest)
    digests = {
        os.path.relpath(paths[name], directory or "."): hashlib.sha256(
            content
        ).hexdigest()
        for name, (_, content) in contents.items()
    }
    listing = json.dumps(digests, indent=1).encode()
    try:
        for name, (_, content) in contents.items():
            write_temporary(paths[name], content)
        write_temporary(manifest, listing)
        for written in {os.path.dirname(path) or "." for path in paths.values()}:
            sync_directory(written)
        os.replace(temporary_path(manifest), manifest)
    except BaseException:
        # Ctrl-C may come after the manifest was replaced. Then the temporary files
        # belong to the valid checkpoint.
        if file_digest(manifest) != hashlib.sha256(listing).hexdigest():
            remove_temporary([*paths.values(), manifest])
        raise
    sync_directory(directory or ".")
    finish_moves(manifest)


class PendingCheckpoint:
    """Contents of the files that a callback saves in one event, until all are known."""

    def __init__(self):
        self.contents, self.error = {}, None


@contextmanager
def atomic_checkpoint(net, callback):
    """Replace all files that a checkpoint callback saves in one event together.

    If they cannot be saved this only warns, because a long fit should not be lost if a
    disk is full for a while.
    """
    if not isinstance(callback, Checkpoint | TrainEndCheckpoint):
        yield
        return
    pending = net.pending_ = PendingCheckpoint()
    try:
        yield
    finally:
        net.pending_ = None
    try:
        if pending.error is not None:
            raise pending.error
        if pending.contents:
            replace_checkpoint(pending.contents)
    except Exception as error:
        warn_user(
            f"The checkpoint of epoch {len(net.history)} was not saved, because of "
            f"{type(error).__name__}: {error}. What was saved before stays as it is.",
            RuntimeWarning,
        )


def verify_checkpoint(net, checkpoint):
    """Check that the files of skorch's `checkpoint` were saved together.

    Renames that a process has left unfinished are finished first.

    Raises
    ------
    FileNotFoundError
        If nothing was saved.
    ValueError
        If files are missing, or were not saved together.
    """
    if not net.initialized_:
        net.initialize()
    history = checkpoint.f_history_
    if history is not None:
        manifest = manifest_path({"f_history": history})
        digests = verified_digests(manifest)
        # Paths may contain the number of the saved epoch.
        current_history = net.history
        net.history = History.from_file(history)
        try:
            paths = checkpoint.get_formatted_files(net)
        finally:
            net.history = current_history
        paths["f_history"] = history
    else:
        paths = checkpoint.get_formatted_files(net)
        manifest = manifest_path({k: p for k, p in paths.items() if p is not None})
        digests = verified_digests(manifest)
    paths = [
        os.fspath(path)
        for name, path in paths.items()
        if isinstance(path, str | os.PathLike) and name != "f_pickle"
    ]
    missing = [path for path in paths if not os.path.exists(path)]
    if len(missing) == len(paths):
        raise FileNotFoundError(", ".join(missing))
    if digests:
        known = {os.path.normpath(path) for path in digests}
        missing += [p for p in paths if os.path.normpath(p) not in known | {*missing}]
    if missing:
        raise ValueError(
            f"{', '.join(missing)}: missing from the checkpoint of {manifest}, or not "
            "saved with it. Bring back all files that were saved together, or remove "
            "them all to begin anew."
        )


def verified_digests(manifest):
    """Digests of the files of a manifest, all of which are checked.

    Raises
    ------
    FileNotFoundError
        If none of the files exists.
    ValueError
        If a file does not have its digest.
    """
    finish_moves(manifest)
    digests = read_manifest(manifest)
    found = {path: file_digest(path) for path in digests}
    if digests and not any(found.values()):
        raise FileNotFoundError(", ".join(digests))
    damaged = [path for path, digest in digests.items() if found[path] != digest]
    if damaged:
        raise ValueError(
            f"{', '.join(damaged)}: missing, or not what was saved with the other "
            f"files of {manifest}. They would mix the states of two epochs. Bring back "
            "all files that were saved together, or remove them all to begin anew."
        )
    return digests


def save_files(net, save, files, **options):
    """Save a net by skorch's method `save`, and replace the files given by paths.

    Parameters
    ----------
    net : TableNet
    save : callable
        The method of skorch, which takes paths or open files.
    files : dict
        Paths or open files by skorch's names.
    **options
        Further arguments of `save`.
    """
    paths = {n: f for n, f in files.items() if isinstance(f, str | os.PathLike)}
    others = {n: f for n, f in files.items() if n not in paths}
    try:
        # Contents go to memory first, because torch's writer may ignore a full disk.
        buffers = {name: BytesIO() for name in paths if name != "f_history"}
        save(**others, **buffers, **options)
        contents = {name: buffer.getvalue() for name, buffer in buffers.items()}
        if "f_history" in paths:
            contents["f_history"] = json.dumps(net.history.to_list()).encode()
    except BaseException as error:
        if net.pending_ is not None:  # skorch's Checkpoint ignores errors.
            net.pending_.error = error
        raise
    if net.pending_ is None:
        replace_files({paths[name]: content for name, content in contents.items()})
        return
    for name, content in contents.items():
        net.pending_.contents[name] = paths[name], content
