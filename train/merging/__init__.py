"""What is done with trained files: adapters into checkpoints, into one another, cut to a rank.

sources.py        FILE:strength:blocks, as the commands take it
block_weights.py  strengths by block: vectors, names of blocks, presets.toml
checkpoint.py     where the weight of each module lies in a checkpoint, of either layout
changes.py        what adapters and other checkpoints add to a checkpoint's tensors
merge.py          checkpoint + changes, written tensor by tensor
"""
