"""One pass over the frames: the same numbers as with all frames in memory, in memory that does not grow."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from bayescg.data import Frames, get_unit_system, read_frames, write_frames
from bayescg.physics import reduce
from bayescg.study import Study, read_model_file
from bayescg.study._build import build_potential
from bayescg.study._sources import StudyFrames, open_data
from bayescg.study._survey import Survey, survey_frames

RDF_BIN = 0.05


@pytest.fixture(scope="module", autouse=True)
def _double_precision():
    jax.config.update("jax_enable_x64", True)


def opened(folder: Path) -> StudyFrames:
    model, _ = read_model_file(folder / "model.toml")
    return open_data(model, folder / "model.toml", get_unit_system(model.units))


def surveyed(folder: Path, *, start_frames: int = 300) -> Survey:
    model, _ = read_model_file(folder / "model.toml")
    potential = build_potential(model, path=folder / "model.toml")
    return survey_frames(
        opened(folder), potential, start_frames=start_frames, rdf_bin=RDF_BIN, inspect=lambda block: None
    )


def assert_surveyed_like(survey: Survey, frames: Frames, potential, *, start_frames: int) -> None:
    """What a survey keeps is what the frames in memory give, bit for bit where no sum's order differs."""
    expected = reduce(frames.blocks(64), potential, distance_edges=survey.distance_edges)
    assert np.array_equal(survey.statistics.features, expected.features)
    assert np.array_equal(survey.statistics.virial, expected.virial)
    assert (
        survey.statistics.trajectory_lengths() == expected.trajectory_lengths() == frames.trajectory_lengths()
    )
    assert survey.pair_counts == pytest.approx(expected.pair_counts.sum(axis=0), rel=1e-12)
    assert survey.checksum == frames.checksum()
    assert np.array_equal(survey.configurations, frames.positions[:: max(1, len(frames) // 200)])
    assert survey.n_frames == len(frames) and survey.n_sites == frames.n_sites
    assert (survey.force_sd is None) == (frames.forces is None)
    if frames.forces is not None:
        assert survey.force_sd == pytest.approx(frames.forces.std(), rel=1e-12)
    for name in ("time", "pressure"):
        values = getattr(frames, name)
        assert (
            (getattr(survey, name) is None)
            if values is None
            else np.array_equal(getattr(survey, name), values)
        )
    if len(frames.trajectory_lengths()) > 1:
        assert survey.few is None
        chosen = list(survey.matching_blocks(32))
        assert np.array_equal(np.concatenate([b.positions for b in chosen]), frames.positions)
    else:
        some = frames[:: max(1, len(frames) // start_frames)]
        assert survey.few is not None
        assert np.array_equal(survey.few.positions, some.positions)
        assert (survey.few.forces is None) == (some.forces is None)
        if some.forces is not None:
            assert np.array_equal(survey.few.forces, some.forces)


@pytest.mark.parametrize(("n_frames", "start_frames"), [(60, 300), (449, 50), (501, 7)])
def test_a_single_trajectory(study, make_frames, n_frames, start_frames):
    plain = make_frames(n_frames)
    frames = replace(plain, time=np.arange(n_frames) * 0.5, pressure=np.sin(np.arange(n_frames)))
    folder = study(data=frames)
    potential = build_potential(read_model_file(folder / "model.toml")[0], path=folder)
    survey = surveyed(folder, start_frames=start_frames)
    assert_surveyed_like(survey, frames, potential, start_frames=start_frames)


def test_several_files_are_several_trajectories(study, make_frames):
    """Two files, one of them with two trajectories in it; the forces that one lacks are left out of all."""
    first = make_frames(130, trajectory=np.repeat([4, 2], [50, 80]))
    second = replace(make_frames(70, seed=2), forces=None)
    folder = study({'["frames.nc"]': '["frames.nc", "second.nc"]'}, data=first)
    write_frames(second, folder / "second.nc")
    joined = Frames.concatenate([read_frames(folder / name) for name in ("frames.nc", "second.nc")])
    assert joined.trajectory_lengths() == (50, 80, 70) and joined.forces is None
    potential = build_potential(read_model_file(folder / "model.toml")[0], path=folder)
    assert_surveyed_like(surveyed(folder), joined, potential, start_frames=300)
    labels = np.concatenate([block.trajectory for block in opened(folder).blocks(64)])
    assert np.array_equal(labels, joined.trajectory)


def test_memory_does_not_grow_with_the_trajectory(study, make_frames, tmp_path):
    """What grows is a few numbers per feature and frame; the frames themselves come and go."""
    some = make_frames(1000)
    many = Frames(*(np.tile(a, (30, 1, 1)[: a.ndim]) for a in (some.positions, some.box)),
                  some.topology, some.state, some.units, forces=np.tile(some.forces, (30, 1, 1)))  # fmt: skip
    # few bins: the matrices that count pairs in bins are large for a moment, whatever the number of frames
    short = study({"replicas = 16": "replicas = 16\n\n[prediction]\nrdf_bin = 0.5"}, data=some)
    long = tmp_path / "long"
    long.mkdir()
    (long / "model.toml").write_text((short / "model.toml").read_text())
    write_frames(many, long / "frames.nc")
    added, frame_bytes = len(many) - len(some), 2 * some.positions[0].nbytes
    del many
    Study.from_file(short).check()  # compiles and imports

    def peak(folder: Path) -> int:
        tracemalloc.start()
        try:
            Study.from_file(folder).check()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    least = peak(short)
    assert frame_bytes * added > 1.5 * least, "frames kept in memory would hide behind everything else"
    growth = (peak(long) - least) / added
    assert growth < 0.25 * frame_bytes, f"{growth:.0f} of {frame_bytes:.0f} bytes of a frame stay in memory"
