"""What comes back to the network: reviewed cells as a data set, drift, and such cells asked about by a new bundle."""
