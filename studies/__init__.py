"""One file per assignment: what is asked, the search space, the presets."""
