"""Files of a net: each one whole, and those of one checkpoint of one epoch.

skorch's `Checkpoint` saves a net as several files, by one call of `save_params` after
another, and says nothing when one of them fails. Here they become one state:

1. The content of each file is written beside its place, with ``.part`` at the end of
   its name.
2. A manifest with the digests of all of them is replaced. From now on the new state
   counts.
3. The parts are moved to their places.

A process may die at any instant. Before step 2 the files in their places are those of
the old manifest; after it each file of the new one is in its place or still a part, and
whoever loads or saves next moves it.
"""

import hashlib
import json
import os
from contextlib import contextmanager, suppress
from io import BytesIO

from skorch.callbacks import Checkpoint, TrainEndCheckpoint
from skorch.history import History

from .._warnings import warn_user


def part_of(path):
    """Where the new content of a file is written."""
    return f"{path}.part"


def write_part(path, content):
    """Write the new content of a file beside it, onto the disk itself."""
    try:
        with open(part_of(path), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # that of a full disk names no file
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_parts(paths):
    for path in paths:
        with suppress(OSError):
            os.unlink(part_of(path))


def replace_files(contents):
    """Give files, each for itself, new contents of bytes, or none of them on an error.

    `contents` is a dict by path.
    """
    try:
        for path, content in contents.items():
            write_part(path, content)
        for path in contents:
            os.replace(part_of(path), path)
    except BaseException:
        remove_parts(contents)
        raise


def sync_folder(folder):
    """Let the names in a folder reach the disk, where the system knows how."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def manifest_of(paths):
    """The file that says which contents are one state, of paths by skorch's names.

    It stands beside the history, which all checkpoints of a run share, or else beside
    the parameters.
    """
    first = (
        paths.get("f_history") or paths.get("f_params") or next(iter(paths.values()))
    )
    return f"{os.fspath(first)}.manifest"


def digest_of(path):
    """Digest of the content of a file; None if there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def read_manifest(manifest):
    """Digests by path; empty if there is no manifest."""
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
    # Names are relative, so that the folder may be moved.
    folder = os.path.dirname(manifest)
    return {os.path.join(folder, name): d for name, d in digests.items()}


def finish_moves(manifest):
    """Do what a process that died had left to do."""
    for path, digest in read_manifest(manifest).items():
        found = digest_of(part_of(path))
        if found == digest:
            # Another process that loads may have been faster.
            with suppress(FileNotFoundError):
                os.replace(part_of(path), path)
        elif found is not None:  # of a later state, which was not completed
            remove_parts([path])
    remove_parts([manifest])


def replace_state(contents):
    """Replace all files of a state, a dict of (path, bytes) by skorch's names.

    An error leaves the state that was there before.
    """
    paths = {name: os.fspath(path) for name, (path, _) in contents.items()}
    manifest = manifest_of(paths)
    folder = os.path.dirname(manifest)
    finish_moves(manifest)
    digests = {
        os.path.relpath(paths[name], folder or "."): hashlib.sha256(content).hexdigest()
        for name, (_, content) in contents.items()
    }
    listing = json.dumps(digests, indent=1).encode()
    try:
        for name, (_, content) in contents.items():
            write_part(paths[name], content)
        write_part(manifest, listing)
        for place in {os.path.dirname(path) or "." for path in paths.values()}:
            sync_folder(place)
        os.replace(part_of(manifest), manifest)
    except BaseException:
        # Ctrl-C may come after the manifest was replaced: then the parts count.
        if digest_of(manifest) != hashlib.sha256(listing).hexdigest():
            remove_parts([*paths.values(), manifest])
        raise
    sync_folder(folder or ".")
    finish_moves(manifest)


class PendingState:
    """Files that callbacks want to save in one event, until all of them are known."""

    def __init__(self):
        self.contents, self.error = {}, None


@contextmanager
def one_state(net, callback):
    """Let all that a callback saves in one event be one state, if it is a checkpoint.

    If it cannot be saved a warning says so: a long fit should not be lost because a
    disk is full for a while.
    """
    if not isinstance(callback, Checkpoint | TrainEndCheckpoint):
        yield
        return
    pending = net.pending_ = PendingState()
    try:
        yield
    finally:
        net.pending_ = None
    try:
        if pending.error is not None:
            raise pending.error
        if pending.contents:
            replace_state(pending.contents)
    except Exception as error:
        warn_user(
            f"The checkpoint of epoch {len(net.history)} was not saved, because of "
            f"{type(error).__name__}: {error}. What was saved before stays as it is.",
            RuntimeWarning,
        )


def check_state(net, checkpoint):
    """Bring the files of skorch's `checkpoint` to the last whole state.

    Raises
    ------
    FileNotFoundError
        If nothing was saved.
    ValueError
        If files are missing, or not those that were saved together.
    """
    if not net.initialized_:
        net.initialize()
    history = checkpoint.f_history_
    if history is not None:
        manifest = manifest_of({"f_history": history})
        digests = settle(manifest)
        present = net.history
        net.history = History.from_file(history)
        try:
            paths = checkpoint.get_formatted_files(net)
        finally:
            net.history = present
        paths["f_history"] = history
    else:
        paths = checkpoint.get_formatted_files(net)
        manifest = manifest_of({k: p for k, p in paths.items() if p is not None})
        digests = settle(manifest)
    paths = [
        os.fspath(path)
        for name, path in paths.items()
        if isinstance(path, str | os.PathLike) and name != "f_pickle"
    ]
    lacking = [path for path in paths if not os.path.exists(path)]
    if len(lacking) == len(paths):
        raise FileNotFoundError(", ".join(lacking))
    if digests:
        known = {os.path.normpath(path) for path in digests}
        lacking += [p for p in paths if os.path.normpath(p) not in known | {*lacking}]
    if lacking:
        raise ValueError(
            f"{', '.join(lacking)}: missing from the checkpoint of {manifest}, or not "
            "saved with it. Bring back all files that were saved together, or remove "
            "them all to begin anew."
        )


def settle(manifest):
    """Digests of the files of a manifest, after a look at each of them."""
    finish_moves(manifest)
    digests = read_manifest(manifest)
    found = {path: digest_of(path) for path in digests}
    if digests and not any(found.values()):
        raise FileNotFoundError(", ".join(digests))
    torn = [path for path, digest in digests.items() if found[path] != digest]
    if torn:
        raise ValueError(
            f"{', '.join(torn)}: missing, or not what was saved with the other files "
            f"of {manifest}. They would mix the states of two epochs. Bring back all "
            "files that were saved together, or remove them all to begin anew."
        )
    return digests


def save_files(net, save, files, **options):
    """Save a net by skorch's `save`; paths among `files` get whole new contents."""
    paths = {n: f for n, f in files.items() if isinstance(f, str | os.PathLike)}
    others = {n: f for n, f in files.items() if n not in paths}
    try:
        # To memory first: torch's own writer may not tell of a full disk.
        buffers = {name: BytesIO() for name in paths if name != "f_history"}
        save(**others, **buffers, **options)
        contents = {name: buffer.getvalue() for name, buffer in buffers.items()}
        if "f_history" in paths:
            contents["f_history"] = json.dumps(net.history.to_list()).encode()
    except BaseException as error:
        if net.pending_ is not None:  # skorch's Checkpoint says nothing of it
            net.pending_.error = error
        raise
    if net.pending_ is None:
        replace_files({paths[name]: content for name, content in contents.items()})
        return
    for name, content in contents.items():
        net.pending_.contents[name] = paths[name], content
