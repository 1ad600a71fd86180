"""Two laws side by side: which is the better at a compute, how sure that is, and how much compute lies between."""
