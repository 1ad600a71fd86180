"""The data of a study: what it yields, in which order, what is held out, how many tokens it has."""
