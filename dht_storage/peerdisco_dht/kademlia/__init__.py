"""Kademlia lookups over sealed datagrams, for whoever does not hold the layout."""
