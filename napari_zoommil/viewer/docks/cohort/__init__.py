"""The Cohort dock."""
