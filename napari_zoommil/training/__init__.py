"""Training with Lightning: modules, data, and a fit as a generator like any job."""
