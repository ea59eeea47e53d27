"""Running P-net, and proving that it is the network the bundle claims."""
