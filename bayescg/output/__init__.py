"""What leaves Python: figures, reports, tables for simulation engines, progress displays."""

from bayescg.output._figures import available_figures as available_figures
from bayescg.output._figures import figure_fisher as figure_fisher
from bayescg.output._figures import figure_potential as figure_potential
from bayescg.output._figures import figure_pressure as figure_pressure
from bayescg.output._figures import figure_rdf as figure_rdf
from bayescg.output._figures import figure_verification as figure_verification
from bayescg.output._lammps import PairTables as PairTables
from bayescg.output._lammps import export_lammps as export_lammps
from bayescg.output._lammps import write_pair_table as write_pair_table
from bayescg.output._progress import PlainProgress as PlainProgress
from bayescg.output._progress import RichProgress as RichProgress
from bayescg.output._progress import format_duration as format_duration
from bayescg.output._progress import make_progress as make_progress
from bayescg.output._report import write_figures as write_figures
from bayescg.output._report import write_outputs as write_outputs
from bayescg.output._report import write_report as write_report
from bayescg.output._result import RESULT_FILE as RESULT_FILE
from bayescg.output._result import Check as Check
from bayescg.output._result import open_result as open_result
from bayescg.output._result import read_checks as read_checks
from bayescg.output._result import read_stage_times as read_stage_times
from bayescg.output._result import read_statement as read_statement
from bayescg.output._tables import parameter_table as parameter_table
from bayescg.output._tables import stage_table as stage_table
from bayescg.output._tables import write_parameter_table as write_parameter_table
from bayescg.output._trace import figure_trace as figure_trace
