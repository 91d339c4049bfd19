"""How bytes move: from a name to a connection, and between two connections."""
