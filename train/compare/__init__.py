"""`train compare`: an experiment's arms trained with the same seeds, drawn, read, held together.

datasets.py     where an arm's dataset is made: handed in, as it is the chain's work
experiment.py   an experiment over a dataset's own recipes: its arms, checked
training.py     one arm with one seed: what names it, and training it once
drawing.py      pictures that are drawn once, and what is read in them, kept beside
curves.py       losses out of a run's log
statistics.py   arms against the first, seed by seed
results.py      experiments/<name>.json
compare.py      all of it in order, for several experiments

In the dataset's folder, under experiments/: data/<key>/ datasets that differ, runs/<key>-seed<n>/
trainings, pictures/<key>/ what was drawn and read. A key names all that what lies there follows
from, so nothing is done twice, and experiments that ask for the same share it.
"""

from schemas.experiment_results import FOLDER

__all__ = ["FOLDER"]
