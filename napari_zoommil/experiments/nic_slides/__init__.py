"""Neural image compression on whole slides: class, and a number (Tellez et al. 2019, Tables 2 and 3)."""
