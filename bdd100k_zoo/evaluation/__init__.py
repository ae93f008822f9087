"""Exact scores: the official numbers of the BDD100K detection evaluation, to the last bit."""
