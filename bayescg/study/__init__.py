"""The model file and the study that runs it."""

from bayescg.study._compare_runs import compare_runs as compare_runs
from bayescg.study._identify_run import identify_run as identify_run
from bayescg.study._labelled_schema import LabelledModelFile as LabelledModelFile
from bayescg.study._pair_tables import pair_tables as pair_tables
from bayescg.study._read import read_model_file as read_model_file
from bayescg.study._schema import ModelFile as ModelFile
from bayescg.study._stored_potentials import stored_potentials as stored_potentials
from bayescg.study._stored_potentials import stored_prior as stored_prior
from bayescg.study._study import Study as Study
from bayescg.study._check_calibration import check_calibration as check_calibration
from bayescg.study._sweep_run import sweep_run as sweep_run
from bayescg.study._check_predictions import check_predictions as check_predictions
from bayescg.study._pair_tables import pair_potentials as pair_potentials
from bayescg.study._engine_inputs import engine_system as engine_system
from bayescg.study._engine_inputs import run_plan as run_plan
from bayescg.study._predict_run import predict as predict
from bayescg.study._observable import Observable as Observable
from bayescg.study._prediction_name import prediction_name as prediction_name
from bayescg.study._simulate_draws import SimulatedDraws as SimulatedDraws
from bayescg.study._simulate_draws import simulate_draws as simulate_draws
from bayescg.study._collect import collect as collect
from bayescg.study._collect import write_collected as write_collected
from bayescg.study._export_pairs import export_pairs as export_pairs
from bayescg.study._dihedral_tables import dihedral_tables as dihedral_tables
