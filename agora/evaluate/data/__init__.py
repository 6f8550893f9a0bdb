"""The items of an evaluation: files, hub data sets, generated tasks, and how their fields are mapped."""
