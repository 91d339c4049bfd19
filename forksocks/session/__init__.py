"""One client from its first byte to the close: `life` tells it, the other modules are its chapters."""
