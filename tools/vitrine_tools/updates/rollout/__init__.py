"""Rollouts: one update for many locks, ring by ring, that stops by itself when it does harm."""
