"""Training hyperparameters as functions of the experiment, and the published rules for them."""
