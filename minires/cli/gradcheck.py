"""`minires gradcheck`: the derivatives of every operation, checked numerically on the installed copy."""
