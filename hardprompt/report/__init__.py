"""What people look at: the live display and the table on the terminal, and the trade-off plot."""
