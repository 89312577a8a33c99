"""What several methods need: data, networks, losses, schedules, and the population engine."""
