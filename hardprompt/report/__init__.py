"""Reports of studies: tables on the terminal and as files, the trade-off plot, and the HTML page."""
