"""What comes back to the network: reviewed cells as a data set, drift, and reviewed cells classified by a new bundle."""
