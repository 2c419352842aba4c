"""Point of sale: a paid fixture opens, once for each sale, and the sale's reference is in the lock's records."""
