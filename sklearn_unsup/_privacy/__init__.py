"""Tables drawn from noised counts of the rows: all that touches rows under a budget."""
