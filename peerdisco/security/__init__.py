"""Who is who: node identity, the cluster secret and what is derived from it, tokens, certificates.

Pure functions over bytes. Start with `secrets.py`, which lists every key there is.
"""
