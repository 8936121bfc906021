"""A user's own job under disasters: is its result right every time, and what do failures cost?

`load.py` finds the job in a file or takes it from a test, `reference.py` runs it in one process,
`workload.py` has a simulated cluster run it, `trial.py` does so for many seeds and compares.
"""
