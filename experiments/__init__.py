"""The papers' tables, figures and claims, run again; `python -m experiments` is the way in."""
