"""Who may open: tokens, policy, session. Imports crypto and codec."""
