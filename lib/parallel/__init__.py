"""Several processes: over the samples of a batch, and over the parts of one volume."""
