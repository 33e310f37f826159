"""Lightning modules and data, and a fit that can be stepped through like any job."""
