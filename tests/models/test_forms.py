"""Other forms of the potential for the same data can be compared with the model they stand beside."""

from pathlib import Path

import pytest

from bayescg.study._read import parse_model_file
from tests.models.test_expected import MODELS

FORMS = sorted(path.parent for path in MODELS.glob("*/forms/*/model.toml"))


def model_of(folder: Path):
    return parse_model_file((folder / "model.toml").read_text(), folder / "model.toml")


def test_every_form_is_found():
    names = {f"{folder.parents[1].name}/{folder.name}" for folder in FORMS}
    assert names == {
        "lj-argon/mie",
        "lj-argon/spline",
        "water-spce/48-coefficients",
        "water-spce/lennard-jones",
        "water-spce/mie",
    }


@pytest.mark.parametrize("folder", FORMS, ids=lambda folder: f"{folder.parents[1].name}-{folder.name}")
def test_a_form_differs_from_its_model_in_the_potential_alone(folder: Path):
    """Same frames at the same temperature within the same cutoff: otherwise `compare` refuses, or compares something else."""
    form, model = model_of(folder), model_of(folder.parents[1])
    assert (form.units, form.temperature) == (model.units, model.temperature)
    files = [(folder / file).resolve() for file in form.data.frames]
    assert files == [folder.parents[1] / file for file in model.data.frames] and all(
        f.is_file() for f in files
    )
    assert [getattr(form.data, key) == getattr(model.data, key) for key in ("start", "stop", "stride")] == [
        True
    ] * 3
    (own,), (other,) = form.potential.values(), model.potential.values()
    assert own != other and own.cutoff == other.cutoff and set(form.potential) == set(model.potential)
    assert own.kind != other.kind or own.spacing != other.spacing
    assert form.simulation == model.simulation
