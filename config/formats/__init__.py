"""How dates look where Django writes them itself, as in the admin: as on our pages."""
