"""How each method learns. Knows torch; knows neither Ray nor files of results."""
