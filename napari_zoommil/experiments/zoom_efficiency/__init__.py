"""What MIL models cost: patches, multiply-adds and time (ZoomMIL, Tables 1 to 3 and Figure 3)."""
