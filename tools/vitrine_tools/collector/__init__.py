"""The collector: takes sealed batches from a broker or a courier, stores them durably, and only then acknowledges."""
