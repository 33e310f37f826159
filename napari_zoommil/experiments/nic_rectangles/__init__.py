"""NIC on synthetic images: which digits fill the tilted rectangle? (Tellez et al. 2019, Figs. 6 and 7)"""
