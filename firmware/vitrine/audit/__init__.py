"""Evidence. Imports crypto and codec."""
