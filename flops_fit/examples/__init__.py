"""Studies that run anywhere; nothing in the library imports them."""
