"""What is drawn of a law: the data of each figure, and the figures."""
