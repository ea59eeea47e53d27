"""Many sources, one row each: the list, the workers, what is done already, and what another network changes in it."""
