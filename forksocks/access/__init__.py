"""Who may do what: networks, the egress guard, users."""
