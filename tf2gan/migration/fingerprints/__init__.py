"""The fingerprints of the hazard catalogue: one small function for each."""
