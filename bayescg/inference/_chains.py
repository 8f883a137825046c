"""Chains of any sampler in compiled chunks, each followed by a checkpoint: a stopped run goes on to the same bits."""

import time
from typing import Any

import numpy as np
from jaxtyping import Array, Key

from bayescg.inference._checkpoint import Checkpoints, arrays_to_tree, tree_to_arrays
from bayescg.inference._sampler import Draws, Sampler, Target, concatenate_draws
from bayescg.progress import Progress

CHUNK = 50
"""Iterations between two looks at the clock."""


def draw_chains(
    sampler: Sampler,
    target: Target,
    *,
    key: Key[Array, ""],
    n_chains: int,
    n_draws: int,
    name: str,
    checkpoints: Checkpoints | None,
    progress: Progress,
) -> tuple[Draws, Any]:
    """Warm up and draw: the draws, and the sampler's state after the last of them.

    Args:
        sampler: what draws.
        target: what is sampled.
        key: of all random numbers.
        n_chains: chains in lockstep.
        n_draws: kept draws of each chain.
        name: of the checkpoint.
        checkpoints: where the state is left, or None.
        progress: who listens; the stage has begun.
    """
    total = sampler.n_warmup + n_draws
    state = sampler.initial_state(key, target, n_chains=n_chains)
    done, parts = 0, []
    saved = checkpoints.load(name) if checkpoints else None
    if saved is not None:
        done = int(saved["done"])
        state = arrays_to_tree(saved, state)
        parts = [Draws(*(saved[field] for field in Draws._fields))] if done > sampler.n_warmup else []
    last = time.monotonic()
    while done < total:
        n = min(CHUNK, (sampler.n_warmup if done < sampler.n_warmup else total) - done)
        state, draws = sampler.step(state, target, n=n)
        if done >= sampler.n_warmup:
            parts.append(draws)
        done += n
        progress.update(done, metrics=_metrics(draws, parts))
        if checkpoints and (time.monotonic() - last > checkpoints.interval or done == total):
            kept = concatenate_draws(parts)._asdict() if parts else {}
            checkpoints.save(name, {"done": np.asarray(done), **tree_to_arrays(state), **kept})
            last = time.monotonic()
    return concatenate_draws(parts), state


def _metrics(draws: Draws, parts: list[Draws]) -> dict[str, str]:
    """What the display shows of a chunk; a sampler without trajectories has nothing to show."""
    if not draws.n_steps.any():
        return {}
    return {
        "steps per draw": f"{draws.n_steps.mean():.1f}",
        "divergences": str(sum(int(part.diverging.sum()) for part in parts)),
    }
