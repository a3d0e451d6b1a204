"""Networks that are invertible up to a linear readout."""
