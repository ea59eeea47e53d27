"""Telling the lab: the connection, the sender, the state reporter and the commands that come in."""
