"""What a person runs: one file a command, `jaxsparse NAME`.

A file NAME.py has the dataclass Name, whose fields are the flags, and `command(flags, line)`, which acts and gives the
exit status; `line` is the whole command, for whoever wants to repeat it. What takes long to import is imported where
it is needed, so that help and a mistyped name are there at once.
"""

COMMANDS = ("grid", "train", "decay", "measure", "shrink", "prune", "export", "report", "results", "data", "bench")
"""In the order of the help."""
