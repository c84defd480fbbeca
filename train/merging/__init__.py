"""What is done with trained files: adapters into checkpoints, into one another, cut to a rank.

sources.py        FILE:strength:blocks, as the commands take it
block_weights.py  strengths by block: vectors, names of blocks, presets.toml
checkpoint.py     where the weight of each module lies in a checkpoint, of either layout
match.py          what of an adapter is found there, and why not the rest
changes.py        what adapters and other checkpoints add to a checkpoint's tensors
merge.py          checkpoint + changes, written tensor by tensor
low_rank.py       adapters as two factors a module: measured, cut, and written
factors.py        singular values of a product that is never made
target.py         how far to cut: a rank, singular values, a size
resize.py         an adapter cut to targets      join.py   adapters joined into one
"""
