"""Encoders of histology compared by what a linear classifier finds in their codes (NIC, Table 1)."""
