"""What people look at: the live display and the table on the terminal, the trade-off plot, and the page."""
