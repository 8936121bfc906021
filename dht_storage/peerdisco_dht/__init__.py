"""DDFS: replicated blobs and tags in a Kademlia key space."""
