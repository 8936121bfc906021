"""Tags: named lists of URLs, the only mutable data of the file system."""
