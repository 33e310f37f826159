"""What stands behind the commands that are more than a job: demo, doctor, and how results are printed."""
