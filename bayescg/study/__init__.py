"""The model file and the study that runs it."""

from bayescg.study._schema import ModelFile as ModelFile
from bayescg.study._schema import read_model_file as read_model_file
from bayescg.study._study import Study as Study
from bayescg.study._study import pair_tables as pair_tables
