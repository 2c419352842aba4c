"""The audit trail on the host: seals, records, and what can be asked of a collector's store."""
