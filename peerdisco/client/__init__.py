"""The Python client: jobs, results and DDFS through any peer."""
