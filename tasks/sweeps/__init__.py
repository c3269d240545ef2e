"""Sweeps and transfers over Ray, and what of them can stand side by side, summed up and drawn."""
