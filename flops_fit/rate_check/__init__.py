"""The learning rate checked inside the study: the centre size of several budgets at half and at double the rate too."""
