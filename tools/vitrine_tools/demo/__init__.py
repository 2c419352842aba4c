"""`make demo`: a phone unlocks an emulated lock, then attacks on it fail. Every step is checked."""
