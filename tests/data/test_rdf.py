"""Radial distribution: ideal gas, a lattice, errors that hold, and the numbers of the reference data."""

import numpy as np
import pytest

from bayescg.data import Frames, State, Topology, get_unit_system, radial_distribution, read_frames
from bayescg.errors import InputError

LJ = get_unit_system("lj")


def gas(n_frames, n_sites, seed, *, types=None, molecules=None, box=(4.0, 5.0, 6.0), exclusions=None):
    rng = np.random.default_rng(seed)
    topology = Topology(
        tuple(types or "A" * n_sites),
        np.ones(n_sites),
        molecules=np.arange(n_sites) if molecules is None else molecules,
        exclusions=np.empty(0) if exclusions is None else exclusions,
    )
    positions = rng.uniform(-10, 10, (n_frames, n_sites, 3)) * np.array(box)
    return Frames(positions, np.array(box), topology, State(1.0), LJ)


@pytest.mark.parametrize("pairs", [None, ("A", "A"), ("A", "B"), ("B", "A")])
def test_an_ideal_gas_is_one(pairs):
    sets = [
        radial_distribution(gas(200, 20, k, types="AAAB" * 5), bin_width=0.2, pairs=pairs) for k in range(8)
    ]
    z = np.array([((s.rdf - 1) / s.rdf_se).values[2:] for s in sets])
    assert abs(z.mean()) < 4 / np.sqrt(z.size) and z.std() == pytest.approx(1.0, abs=0.25)
    assert np.mean([s.inefficiency for s in sets]) < 1.2
    assert float(sets[0].r_edges[-1]) == pytest.approx(2.0)


def test_errors_cover_over_repeated_runs():
    """Frames repeated five times are worth a fifth: the reported error must be the spread over independent sets."""
    sets = []
    for seed in range(24):
        frames = gas(80, 30, 100 + seed)
        again = np.repeat(frames.positions, 5, axis=0)
        sets.append(
            radial_distribution(Frames(again, frames.box[0], frames.topology, State(1.0), LJ), bin_width=0.4)
        )
    spread = np.std([s.rdf for s in sets], axis=0, ddof=1)
    reported = np.mean([s.rdf_se for s in sets], axis=0)
    assert np.abs(np.log(reported[1:] / spread[1:])).mean() < 0.25
    assert np.mean([s.inefficiency for s in sets]) == pytest.approx(5.0, rel=0.25)


def test_uniform_bins_edges_and_tiles_agree():
    frames = gas(5, 300, 3, box=(5.0, 5.0, 5.0))
    by_width = radial_distribution(frames, bin_width=0.25)
    edges = 0.25 * np.arange(11)
    assert radial_distribution(frames, edges=edges).rdf.values == pytest.approx(by_width.rdf.values)
    coarse = radial_distribution(frames, edges=np.r_[edges[:3], edges[4:]])  # not uniform
    counts = by_width.counts.values
    assert coarse.counts.values == pytest.approx(np.r_[counts[:2], counts[2] + counts[3], counts[4:]])
    x = frames.positions[0]
    d = x[:, None] - x[None]
    d -= 5.0 * np.round(d / 5.0)
    r = np.sqrt((d**2).sum(-1))[np.triu_indices(300, 1)]
    assert radial_distribution(frames[:1], bin_width=0.25).counts.values == pytest.approx(
        np.histogram(r, edges)[0]
    )


def test_excluded_pairs_count_nowhere():
    rng = np.random.default_rng(5)
    centres = rng.uniform(0, 6, (300, 20, 1, 3))
    dimers = (centres + np.array([[0.0, 0, 0], [0.31, 0, 0]])).reshape(300, 40, 3)
    topology = Topology(
        tuple("AB" * 20), np.ones(40), molecules=np.arange(40) // 2, exclusions=np.arange(40).reshape(-1, 2)
    )
    frames = Frames(dimers, np.full(3, 6.0), topology, State(1.0), LJ)
    for exclude in ("molecule", "exclusions"):
        found = radial_distribution(frames, bin_width=0.1, exclude=exclude)
        assert float(found.rdf.sel(r=0.35, method="nearest")) < 2.0
        assert float(found.rdf.where(found.r > 1).mean()) == pytest.approx(1.0, abs=0.02)
    bonded = radial_distribution(frames, bin_width=0.1, exclude="nothing", pairs=("B", "A"))
    assert float(bonded.rdf.sel(r=0.35, method="nearest")) > 10
    assert float(bonded.counts.sum()) > 20


def test_a_bin_never_entered_has_an_error():
    frames = gas(50, 4, 6)
    found = radial_distribution(frames, bin_width=0.01)
    empty = found.counts == 0
    assert bool(empty.any()) and bool((found.rdf_se.where(empty, 1.0) > 0).all())


def test_many_frames_share_rows_without_changing_the_answer(monkeypatch):
    frames = gas(400, 20, 7)
    exact = radial_distribution(frames, bin_width=0.2)
    monkeypatch.setattr("bayescg.data._rdf._MAX_ROWS", 100)
    grouped = radial_distribution(frames, bin_width=0.2)
    assert grouped.rdf.values == pytest.approx(exact.rdf.values)
    assert grouped.rdf_se.values[3:] == pytest.approx(exact.rdf_se.values[3:], rel=0.4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r_max": 2.5}, "beyond half of the box"),
        ({"pairs": ("A", "Z")}, "'Z'; types here are A"),
        ({"edges": [0.0, 1.0], "bin_width": 0.1}, "give one of them"),
        ({"edges": [1.0, 0.5]}, "rising"),
        ({"bin_width": -0.1}, "expected 0 < width"),
        ({"exclude": "bonds"}, "'bonds'"),
    ],
)
def test_what_does_not_fit_raises(options, message):
    with pytest.raises(InputError, match=message):
        radial_distribution(gas(3, 5, 1), **options)
    with pytest.raises(InputError, match="no pairs are left"):
        radial_distribution(gas(3, 5, 1, molecules=np.zeros(5)))


def test_an_open_box_has_no_density():
    frames = gas(3, 5, 1)
    with pytest.raises(InputError, match="open"):
        radial_distribution(Frames(frames.positions, np.full(3, np.inf), frames.topology, State(1.0), LJ))


def extremum(r, g, low, high, sign):
    """Parabola through the five bins around the highest (lowest) one."""
    inside = np.flatnonzero((r > low) & (r < high))
    m = inside[np.argmax(sign * g[inside])]
    near = slice(m - 2, m + 3)
    a, b, c = np.polyfit(r[near] - r[m], g[near], 2)
    return r[m] - b / (2 * a), c - b * b / (4 * a)


def test_reference_numbers_of_water(shared_data):
    water = read_frames(shared_data / "water_spce" / "spce343_300K_com.nc")
    found = radial_distribution(water, bin_width=0.01)
    r, g = found.r.values, found.rdf.values
    for low, high, sign, where, value in [
        (0.2, 0.35, 1, 0.2784, 2.936), (0.28, 0.45, -1, 0.3389, 0.802), (0.36, 0.54, 1, 0.4565, 1.108),
    ]:  # fmt: skip
        at, height = extremum(r, g, low, high, sign)
        assert at == pytest.approx(where, abs=2e-4) and height == pytest.approx(value, abs=1e-3)
    assert float(found.inefficiency.values[np.argmax(g)]) == pytest.approx(1.15, abs=0.1)


@pytest.mark.parametrize(
    ("pair", "where", "value"), [("AA", 0.482, 1.563), ("AB", 0.506, 1.288), ("BB", 0.679, 1.154)]
)
def test_reference_numbers_of_hexane(shared_data, pair, where, value):
    hexane = read_frames(shared_data / "hexane_ua" / "hexane125_300K_3site.nc", stride=2)
    found = radial_distribution(hexane, bin_width=0.02, pairs=tuple(pair))
    at, height = extremum(found.r.values, found.rdf.values, 0.35, 0.75, 1)
    assert at == pytest.approx(where, abs=5e-3) and height == pytest.approx(value, abs=2e-3)


def test_reference_numbers_of_argon(shared_data):
    argon = read_frames(shared_data / "lj_argon" / "lj_ar_85K.nc", stride=2)
    found = radial_distribution(argon, bin_width=0.05)
    at, height = extremum(found.r.values, found.rdf.values, 3.0, 5.0, 1)
    assert at == pytest.approx(3.698, abs=5e-3) and height == pytest.approx(3.035, abs=0.015)
