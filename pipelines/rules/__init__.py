"""`septet rules` and `septet try`: what rules there are, and what they would drop."""
