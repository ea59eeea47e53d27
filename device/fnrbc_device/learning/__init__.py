"""What comes back to the network: reviewed cells as a dataset, drift, and a new bundle asked about old cells."""
