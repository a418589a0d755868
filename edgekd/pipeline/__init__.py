"""the whole run: stages with resume, from a recipe to run.json."""
