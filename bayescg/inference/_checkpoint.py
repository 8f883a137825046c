"""Checkpoints: arrays in files that are either whole or absent."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from bayescg.errors import InputError

Tree = TypeVar("Tree")


class Checkpoints:
    """A folder of named array files, each written to a temporary file and renamed into place.

    Args:
        folder: made when missing.
        identity: what the checkpoints belong to (model, data, settings, seed); a folder of another identity is refused.
        interval: least time between two checkpoints of one stage [s].

    Raises:
        InputError: the folder holds checkpoints of something else.
    """

    def __init__(self, folder: Path, *, identity: str, interval: float = 20.0):
        self.folder, self.interval = folder, interval
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / "identity.json"
        if mark.exists():
            found = json.loads(mark.read_text())["identity"]
            if found != identity:
                raise InputError(
                    f"{folder}: holds checkpoints of another model, data set, version or seed;"
                    " use a new output folder"
                )
        else:
            write_atomically(mark, json.dumps({"identity": identity}).encode())

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of a checkpoint, or None when there is none."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}

    def save(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a checkpoint; the former one of that name stays whole until the new one is."""
        path = self.folder / f"{name}.npz"
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **{key: np.asarray(value) for key, value in arrays.items()})  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def discard(self, name: str) -> None:
        """Remove a checkpoint that a later one supersedes."""
        (self.folder / f"{name}.npz").unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it into place."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def tree_to_arrays(tree: object) -> dict[str, np.ndarray]:
    """The leaves of a pytree as numbered arrays; PRNG keys as their data."""
    leaves = jax.tree.leaves(tree)
    return {f"leaf_{i:03d}": np.asarray(_key_data(leaf)) for i, leaf in enumerate(leaves)}


def arrays_to_tree(arrays: Mapping[str, np.ndarray], like: Tree) -> Tree:
    """The inverse of `tree_to_arrays`, given a pytree of the same structure."""
    leaves, structure = jax.tree.flatten(like)
    restored = [
        jax.random.wrap_key_data(jnp.asarray(arrays[f"leaf_{i:03d}"]))
        if _is_key(leaf)
        else jnp.asarray(arrays[f"leaf_{i:03d}"], jnp.asarray(leaf).dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, restored)


def _is_key(leaf: object) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf):
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf
