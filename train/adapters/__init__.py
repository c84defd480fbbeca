"""Adapters: small changes beside frozen weights, trained in their place.

adapter.py   the adapter of a whole model: its layers, their names in files, groups of rates
figures.py   rank, alpha and rate of each block, from the recipe
layer.py     what every kind of layer can do
lora.py      LoRA and LoCon      dora.py   DoRA      of_lycoris.py   LoHa, LoKr, DyLoRA
"""
