"""Radios and wires: how requests reach the dispatch."""
