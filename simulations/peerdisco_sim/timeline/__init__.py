"""A play as one web page: who was in which state when, what befell whom, and what was violated.

`watch.py` looks at the nodes while a schedule is played again, `page.py` writes one HTML file that
needs nothing else: no server, no network, no script from elsewhere.
"""
